-- The holder's streamer is gone, or has ended the show. Called again, it says the same: an answer may be lost.
-- KEYS: record, clips, channel
-- ARGV: epoch, grace or ended, the command to publish with, what to publish
-- Returns: 1 if it is so, 0 if another node has held it since, or it was over before
local record = read()
if not record then return 1 end
if record.epoch > tonumber(ARGV[1]) or record.phase == 'ended' and ARGV[2] ~= 'ended' then return 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'phase', ARGV[2], 'till', whole(now + record.grace))
keep(record.grace)
if ARGV[2] == 'ended' then redis.call('DEL', KEYS[2]) end
redis.call(ARGV[3], KEYS[3], ARGV[4])
return 1
