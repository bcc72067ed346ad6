-- KEYS: the livestreams to look at, by when
-- ARGV: after how many ms, the livestream
redis.call('ZADD', KEYS[1], whole(now + ARGV[1]), ARGV[2])
return 1
