-- Stores rights to come back with an expired token.
-- KEYS: one user's rights to come back, by their expiry
-- ARGV: their lifetime in ms, the most rights, the rights
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now))
for at = 3, #ARGV do redis.call('ZADD', KEYS[1], whole(now + ARGV[1]), ARGV[at]) end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -(ARGV[2] + 1))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
