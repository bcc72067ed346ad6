-- Makes a node the owner, if the expected epoch is still the newest, and the deadline has not passed.
-- KEYS: record, history, channel, ids of clips
-- ARGV: node, expected epoch, deadline in ms of this clock, lease ms, grace ms, the latest sequence known to the node,
--       1 if another livestream begins, when the streamer came (0: now), the publish command, the message to publish
-- Returns: the epoch (0: refused), the sequence, the record before, and the ids of clips with their sequences
local record = read()
if record.epoch ~= tonumber(ARGV[2]) or now > tonumber(ARGV[3]) then return { '0', '0', told(record), {} } end
local before = told(record)
local epoch = math.max(clock[1] * 1000000 + clock[2], record.epoch + 1)
local sequence = tonumber(ARGV[6])
if ARGV[7] ~= '1' and record.phase ~= 'ended' and record.phase ~= 'missing' then
  sequence = math.max(sequence, record.sequence, tonumber(redis.call('HGET', KEYS[1], 'known') or 0))
else
  redis.call('DEL', KEYS[2], KEYS[4])
  redis.call('HDEL', KEYS[1], 'recording')
end
local came = tonumber(ARGV[8])
if came == 0 then came = epoch end
redis.call('HSET', KEYS[1], 'epoch', whole(epoch), 'came', whole(came), 'node', ARGV[1], 'phase', 'live', 'until', whole(now + ARGV[4]),
  'grace', ARGV[5], 'sequence', whole(sequence), 'known', whole(sequence))
keep(ARGV[5])
redis.call(ARGV[9], KEYS[3], ARGV[10])
return { whole(epoch), whole(sequence), before, redis.call('ZRANGE', KEYS[4], 0, -1, 'WITHSCORES') }
