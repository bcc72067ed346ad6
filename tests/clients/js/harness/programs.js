// What `tests/clients/run` built and made, by the names under which it hands it on.

/** The path that `name` of the environment holds. */
export function program(name) {
  const path = process.env[name];
  if (!path) throw new Error(`${name} is not set: start these suites with tests/clients/run`);
  return path;
}
