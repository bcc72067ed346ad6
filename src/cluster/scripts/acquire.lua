-- Makes a node the holder.
-- KEYS: record, clips, channel
-- ARGV: node, lease ms, grace ms, sequence as this node knows it, since (0: now; else it settles what two nodes began
--       apart: the newest wins), 1 to begin anew, the command to publish with, what to publish
-- Returns: epoch (0: refused), sequence, the node that held it until now or nothing, how it begins: resumed, or fresh, or
--          another if another show ended lately
local record = read()
local on = record and record.phase ~= 'ended' and ARGV[6] ~= '1'
local since = tonumber(ARGV[5])
if on and since > 0 and record.phase == 'live' and record.node ~= ARGV[1] and record.since > since then
  return { '0', '0', record.node, '' }
end
if since == 0 then since = now end
local epoch = clock[1] * 1000000 + clock[2]
if record and record.epoch >= epoch then epoch = record.epoch + 1 end
local sequence, before = 0, ''
if on then
  sequence = math.max(record.sequence, tonumber(ARGV[4]))
  if record.phase == 'live' and record.node ~= ARGV[1] then before = record.node end
else
  redis.call('DEL', KEYS[2])
  if not record and ARGV[6] ~= '1' then sequence = tonumber(ARGV[4]) end
end
redis.call('HSET', KEYS[1], 'epoch', whole(epoch), 'node', ARGV[1], 'phase', 'live', 'till', whole(now + ARGV[2]),
  'grace', ARGV[3], 'sequence', whole(sequence), 'count', '0', 'since', whole(since))
keep(ARGV[3])
redis.call(ARGV[7], KEYS[3], ARGV[8])
return { whole(epoch), whole(sequence), before, on and 'resumed' or record and 'another' or 'fresh' }
