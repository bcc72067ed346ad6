-- Whether a client may come back.
-- KEYS: one user's rights to come back, by their expiry
-- ARGV: the right
local till = redis.call('ZSCORE', KEYS[1], ARGV[1])
return till and tonumber(till) >= now and 1 or 0
