-- The holder's streamer is gone, or has ended the show.
-- KEYS: record, clips, channel
-- ARGV: epoch, grace or ended, the command to publish with, what to publish
-- Returns: 1 if it was so, 0 if the epoch is good no more (or there is no record: nothing to let go of)
local record = read()
if not record or record.epoch ~= tonumber(ARGV[1]) or record.phase == 'ended' then return 0 end
redis.call('HSET', KEYS[1], 'phase', ARGV[2], 'till', whole(now + record.grace))
keep(record.grace)
if ARGV[2] == 'ended' then redis.call('DEL', KEYS[2]) end
redis.call(ARGV[3], KEYS[3], ARGV[4])
return 1
