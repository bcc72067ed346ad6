-- Makes a node the holder.
-- KEYS: record, clips, channel
-- ARGV: node, lease ms, grace ms, sequence if there is no record, aired if there is none, since (0: now; else it settles
--       what two nodes began apart: the newest wins), 1 to begin anew, the command to publish with, what to publish
-- Returns: epoch (0: refused), sequence, the node that held it until now or nothing, whether a show goes on
local record = read()
local on = record and record.phase ~= 'ended' and ARGV[7] ~= '1'
local since = tonumber(ARGV[6])
if on and since > 0 and record.phase == 'live' and record.node ~= ARGV[1] and record.since > since then
  return { '0', '0', record.node, '0' }
end
if since == 0 then since = now end
local epoch = clock[1] * 1000000 + clock[2]
if record and record.epoch >= epoch then epoch = record.epoch + 1 end
local sequence, aired, before = 0, '0', ''
if on then
  sequence, aired = record.sequence, record.aired
  if record.phase == 'live' and record.node ~= ARGV[1] then before = record.node end
else
  redis.call('DEL', KEYS[2])
  if not record and ARGV[7] ~= '1' then sequence, aired = tonumber(ARGV[4]), ARGV[5] end
end
redis.call('HSET', KEYS[1], 'epoch', whole(epoch), 'node', ARGV[1], 'phase', 'live', 'till', whole(now + ARGV[2]),
  'grace', ARGV[3], 'sequence', whole(sequence), 'count', '0', 'aired', aired, 'since', whole(since))
keep(ARGV[3])
redis.call(ARGV[8], KEYS[3], ARGV[9])
return { whole(epoch), whole(sequence), before, aired }
