-- Nobody need look at a livestream any longer, unless it has been enrolled again since it was due.
-- KEYS: the livestreams to look at, by when
-- ARGV: by when others would look at it, the livestream
local score = redis.call('ZSCORE', KEYS[1], ARGV[2])
if score and tonumber(score) == tonumber(ARGV[1]) then redis.call('ZREM', KEYS[1], ARGV[2]) end
return 1
