-- Whether a client may come back.
-- KEYS: one user's returns, by when they are no longer good
-- ARGV: the return
local till = redis.call('ZSCORE', KEYS[1], ARGV[1])
return till and tonumber(till) >= now and 1 or 0
