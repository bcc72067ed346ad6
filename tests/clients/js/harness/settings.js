// What both harnesses start daemons with; `bursts` takes more clips at once than phones send.

import { createRequire } from "node:module";

export const settings = createRequire(import.meta.url)("../../world.json");
