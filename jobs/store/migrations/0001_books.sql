-- The books of one node. Energies are whole microjoules, times nanoseconds: *_wall_ns of the wall clock, other *_ns of
-- the ledger's clock, which never goes back. An end of 0: not yet.

-- What is true of the whole store: node, cluster.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- What ledger time is CLOCK_BOOTTIME plus, in each boot of the node.
CREATE TABLE boot (id TEXT PRIMARY KEY, offset_ns INTEGER NOT NULL) WITHOUT ROWID;

-- The last commit. One row.
CREATE TABLE books (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  time_ns INTEGER NOT NULL,
  wall_ns INTEGER NOT NULL,
  policy TEXT NOT NULL,
  state BLOB -- what the ledger needs to go on after a restart
);

-- A sensor, and its sums since the store was made.
CREATE TABLE sensor (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  resource_kind TEXT NOT NULL,
  resource_id TEXT NOT NULL,
  domain TEXT NOT NULL,
  part TEXT NOT NULL, -- of the resource, where several sensors share it without overlap; empty: all of it
  socket INTEGER NOT NULL, -- negative: the whole node
  holders INTEGER NOT NULL,
  scope INTEGER NOT NULL, -- 0 component, 1 part of a component, 2 around components
  range_uj INTEGER NOT NULL, -- unsigned: a 64-bit counter's -1 is 2^64-1
  max_uw INTEGER NOT NULL,
  max_gap_ns INTEGER NOT NULL,
  step_ns INTEGER NOT NULL,
  integrated INTEGER NOT NULL,
  estimated INTEGER NOT NULL,
  root TEXT NOT NULL,
  measured_uj INTEGER NOT NULL,
  system_uj INTEGER NOT NULL,
  idle_uj INTEGER NOT NULL,
  vanished_uj INTEGER NOT NULL,
  unobserved_uj INTEGER NOT NULL,
  unmeasured_ns INTEGER NOT NULL,
  floor_uw INTEGER NOT NULL,
  floor_learned INTEGER NOT NULL,
  last_uw INTEGER NOT NULL
);

-- One life of a job in the store. A requeued job has several, which add up.
CREATE TABLE job (
  id INTEGER PRIMARY KEY,
  scheduler TEXT NOT NULL,
  name TEXT NOT NULL,
  begin_ns INTEGER NOT NULL,
  end_ns INTEGER NOT NULL,
  begin_wall_ns INTEGER NOT NULL,
  end_wall_ns INTEGER NOT NULL,
  seen_begin INTEGER NOT NULL,
  final_reading INTEGER NOT NULL, -- 0 none, 1 group, 2 parent, 3 parent, shared, 4 last reading
  lives INTEGER NOT NULL,
  cpu_ns INTEGER NOT NULL,
  exist_ns INTEGER NOT NULL,
  policy TEXT NOT NULL,
  user TEXT NOT NULL,
  uid INTEGER NOT NULL, -- negative: unknown
  job_name TEXT NOT NULL,
  account TEXT NOT NULL,
  partition TEXT NOT NULL,
  array_job TEXT NOT NULL,
  array_task TEXT NOT NULL,
  het_job TEXT NOT NULL,
  het_offset TEXT NOT NULL,
  cgroup TEXT NOT NULL,
  cpus TEXT NOT NULL, -- as the kernel writes lists: 0-3,8; empty: unknown
  UNIQUE (name, scheduler, begin_ns)
);
CREATE INDEX job_by_begin ON job (begin_wall_ns);
CREATE INDEX job_live ON job (begin_wall_ns) WHERE end_ns = 0;
CREATE INDEX job_by_array ON job (array_job, array_task) WHERE array_job <> '';
CREATE INDEX job_by_het ON job (het_job, het_offset) WHERE het_job <> '';

CREATE TABLE step (
  job INTEGER NOT NULL REFERENCES job,
  step TEXT NOT NULL,
  begin_ns INTEGER NOT NULL,
  end_ns INTEGER NOT NULL,
  begin_wall_ns INTEGER NOT NULL,
  end_wall_ns INTEGER NOT NULL,
  seen_begin INTEGER NOT NULL,
  cpu_ns INTEGER NOT NULL,
  final_reading INTEGER NOT NULL,
  PRIMARY KEY (job, step)
) WITHOUT ROWID;

-- A job's energy by one sensor, and what that sensor measured while the job existed. Ordered by sensor, so that the sum
-- over all jobs, which every audit asks for, reads one run of pages.
CREATE TABLE figure (
  sensor INTEGER NOT NULL REFERENCES sensor,
  job INTEGER NOT NULL REFERENCES job,
  uj INTEGER NOT NULL,
  late_uj INTEGER NOT NULL,
  uncertain_uj INTEGER NOT NULL,
  covered_ns INTEGER NOT NULL,
  measured_uj INTEGER NOT NULL,
  system_uj INTEGER NOT NULL,
  idle_uj INTEGER NOT NULL,
  vanished_uj INTEGER NOT NULL,
  unobserved_uj INTEGER NOT NULL,
  PRIMARY KEY (sensor, job)
) WITHOUT ROWID;

-- A step's part of figure.uj; the parts of one job and sensor, with the step 'between', add up to it.
CREATE TABLE step_figure (
  job INTEGER NOT NULL REFERENCES job,
  step TEXT NOT NULL,
  sensor INTEGER NOT NULL REFERENCES sensor,
  uj INTEGER NOT NULL,
  late_uj INTEGER NOT NULL,
  uncertain_uj INTEGER NOT NULL,
  PRIMARY KEY (job, step, sensor)
) WITHOUT ROWID;
