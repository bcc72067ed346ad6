-- Has somebody look at a livestream.
-- KEYS: what is due
-- ARGV: the livestream, after how many ms
redis.call('ZADD', KEYS[1], whole(now + ARGV[2]), ARGV[1])
return 1
