-- Ends an epoch: the owner's streamer is gone, or has ended the livestream. A repetition returns the same result: an
-- answer may be lost.
-- KEYS: record, history, channel
-- ARGV: epoch, grace or ended, the publish command, the message to publish, whether clips are recorded (empty: it does
--       not say)
-- Returns: done, missing (no record), or stale (a newer epoch, or it was over before)
local record = read()
if record.epoch == 0 then return 'missing' end
if record.epoch > tonumber(ARGV[1]) or record.phase == 'ended' and ARGV[2] ~= 'ended' then return 'stale' end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'phase', ARGV[2], 'until', whole(now + record.grace))
keep(record.grace)
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'recording', ARGV[5]) end
if ARGV[2] == 'ended' then
  redis.call('HSET', KEYS[1], 'sequence', '0', 'known', '0')
  redis.call('DEL', KEYS[2])
end
redis.call(ARGV[3], KEYS[3], ARGV[4])
return 'done'
