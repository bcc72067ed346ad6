-- Ends a livestream whose time is over.
-- KEYS: record, history, channel
-- ARGV: 1 to end it even if its time is not over, the publish command, the message to publish
-- Returns: 0 if this call has ended it, -1 if it was over before or there is no record, else the ms until the next check;
-- the owner, its epoch, the sequence of the latest clip, and what the owner says of the recording
local record = read()
if record.phase == 'missing' or record.phase == 'ended' then return { -1, '', 0, 0, '' } end
if record.phase ~= 'expired' and ARGV[1] ~= '1' then
  return { record.left + (record.phase == 'live' and record.grace or 0), '', 0, 0, '' }
end
redis.call('HSET', KEYS[1], 'phase', 'ended', 'sequence', '0', 'known', '0')
redis.call('DEL', KEYS[2])
keep(record.grace)
redis.call(ARGV[2], KEYS[3], ARGV[3])
return { 0, record.node, whole(record.epoch), whole(record.sequence), record.recording }
