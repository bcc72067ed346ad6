-- KEYS: what is due
-- ARGV: how many at the most
-- Returns: the livestreams that somebody should look at by now
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', whole(now), 'LIMIT', 0, ARGV[1])
