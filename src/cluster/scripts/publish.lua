-- Publishes a clip to the subscribed nodes. A repetition with the same sequence has no effect: an answer may be lost.
-- KEYS: record, history, channel
-- ARGV: epoch, sequence, the sequence that the history must have reached, lease ms, the most clips in the history, the
--       publish command (none: the clip was published before), the message, the epoch of the clip's publication
-- Returns: the record; the clip is published if its epoch is this one and its sequence not lower
local fields = redis.call('HMGET', KEYS[1], 'epoch', 'phase', 'sequence', 'grace')
local reached = tonumber(fields[3] or 0)
if fields[1] ~= ARGV[1] or fields[2] ~= 'live' or reached < tonumber(ARGV[3]) then return told(read()) end
if reached < tonumber(ARGV[2]) then
  redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[5], ARGV[8] .. '-' .. ARGV[2], 'c', ARGV[7])
  redis.call('HSET', KEYS[1], 'sequence', ARGV[2], 'until', whole(now + ARGV[4]))
  redis.call('PEXPIRE', KEYS[2], whole(fields[4] * 2 + 120000))
  if ARGV[6] ~= '' then redis.call(ARGV[6], KEYS[3], ARGV[7]) end
end
return { '0', ARGV[1], '', 'live', '0', ARGV[2] }
