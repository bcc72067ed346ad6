// The relay as Node's socket.io does it: the same events as ours, nobody is checked, nothing is written anywhere.
// Settings are the library's own, but for what every relay of clips needs: larger messages.

import { Server } from "socket.io";

// The library's default, unless a measurement wants none.
const pingInterval = Number(process.env.PING_INTERVAL_MS ?? 25_000);
const io = new Server(Number(process.argv[2] ?? 0), {
  maxHttpBufferSize: 8 << 20,
  serveClient: false,
  cors: { origin: "*" },
  pingInterval,
});
const listeners = io.of("/listener");

io.of("/streamer").on("connection", (socket) => {
  const livestream = socket.handshake.headers["livestream-id"];
  socket.emit("success", `User bench connected as streamer to livestream ${livestream}.`);
  socket.on("upload", (clip) => {
    listeners.to(livestream).emit("audio", clip);
    socket.emit("success", "Packet received from user bench");
  });
});

listeners.on("connection", (socket) => {
  const livestream = socket.handshake.headers["livestream-id"];
  socket.join(livestream);
  socket.emit("success", `User bench connected as listener to livestream ${livestream}.`);
});

io.httpServer.on("listening", () => {
  console.log(`relay: clients on http://127.0.0.1:${io.httpServer.address().port}`);
});
