-- Publishes clips to the subscribed nodes. A repetition with the same sequences has no effect: an answer may be lost.
-- KEYS: record, history, channel, ids of clips
-- ARGV: epoch, the sequence of the first clip, the sequence that the history must have reached, lease ms, the most clips
--       in the history, the publish command (none: the clips were published before), the epoch of the clips' publication,
--       the most ids, and of each clip the message and the id (empty: it has none)
-- Returns: the record; the clips are published if its epoch is this one and its sequence not lower than the last one
local fields = redis.call('HMGET', KEYS[1], 'epoch', 'phase', 'sequence', 'grace')
local reached = tonumber(fields[3] or 0)
if fields[1] ~= ARGV[1] or fields[2] ~= 'live' or reached < tonumber(ARGV[3]) then return told(read()) end
local last = ARGV[2] + (#ARGV - 10) / 2
if reached < last then
  for at = 9, #ARGV, 2 do
    local sequence = ARGV[2] + (at - 9) / 2
    if reached < sequence then
      redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[5], ARGV[7] .. '-' .. whole(sequence), 'c', ARGV[at])
      if ARGV[6] ~= '' then redis.call(ARGV[6], KEYS[3], ARGV[at]) end
      if ARGV[at + 1] ~= '' then redis.call('ZADD', KEYS[4], whole(sequence), ARGV[at + 1]) end
    end
  end
  redis.call('HSET', KEYS[1], 'sequence', whole(last), 'until', whole(now + ARGV[4]))
  redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -1 - ARGV[8])
  redis.call('PEXPIRE', KEYS[2], whole(fields[4] * 2 + 120000))
  redis.call('PEXPIRE', KEYS[4], whole(fields[4] * 2 + 120000))
end
return { '0', ARGV[1], '', 'live', '0', whole(last), '0', '' }
