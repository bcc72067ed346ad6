-- Issues a version for a change of the bans.
-- KEYS: the bans, by kind and id; with the latest version and the revision
-- ARGV: the highest version that the node knows
-- Returns: the version
local version = math.max(tonumber(redis.call('HGET', KEYS[1], 'version') or 0), tonumber(ARGV[1])) + 1
redis.call('HSET', KEYS[1], 'version', whole(version))
return whole(version)
