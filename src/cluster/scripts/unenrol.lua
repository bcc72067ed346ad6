-- Removes a livestream from the checks, unless it has been enrolled again since it was due.
-- KEYS: the livestreams to check, by the time of the check
-- ARGV: the time when other nodes would check it, the livestream
local score = redis.call('ZSCORE', KEYS[1], ARGV[2])
if score and tonumber(score) == tonumber(ARGV[1]) then redis.call('ZREM', KEYS[1], ARGV[2]) end
return 1
