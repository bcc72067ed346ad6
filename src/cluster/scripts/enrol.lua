-- KEYS: the livestreams to check, by the time of the check
-- ARGV: the ms until the check, the livestream
redis.call('ZADD', KEYS[1], whole(now + ARGV[1]), ARGV[2])
return 1
