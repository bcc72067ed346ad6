-- Remembers who may come back on an expired token.
-- KEYS: one user's returns, by when they are no longer good
-- ARGV: for how many ms, how many at the most, the returns
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now))
for at = 3, #ARGV do redis.call('ZADD', KEYS[1], whole(now + ARGV[1]), ARGV[at]) end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -(ARGV[2] + 1))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
