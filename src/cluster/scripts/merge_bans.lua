-- Merges changes of the bans, and publishes those that are newer than what is stored.
-- KEYS: the bans, by kind and id; with the latest version and the revision; the channel
-- ARGV: the publish command, and of each change the kind and id, its version and the change (empty: it is forgotten)
-- Returns: the revision
local revision = tonumber(redis.call('HGET', KEYS[1], 'revision') or 0)
local latest = tonumber(redis.call('HGET', KEYS[1], 'version') or 0)
for at = 2, #ARGV, 3 do
  local stored = redis.call('HGET', KEYS[1], ARGV[at])
  local before, version = stored and tonumber(string.match(stored, '^%d+')), tonumber(ARGV[at + 1])
  if ARGV[at + 2] == '' then
    if before == version then redis.call('HDEL', KEYS[1], ARGV[at]) end
  elseif not before or before < version then
    revision, latest = revision + 1, math.max(latest, version)
    redis.call('HSET', KEYS[1], ARGV[at], whole(version) .. ' ' .. ARGV[at + 2])
    redis.call(ARGV[1], KEYS[2], whole(revision) .. ' ' .. ARGV[at + 2])
  end
end
redis.call('HSET', KEYS[1], 'revision', whole(revision), 'version', whole(latest))
return whole(revision)
