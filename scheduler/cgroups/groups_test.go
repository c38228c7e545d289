package cgroups

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
)

// One job in four hierarchies is one job, from the first directory to the last, and its CPU counter may come and go meanwhile.
func TestSeveralHierarchies(t *testing.T) {
	m := newMachine(t, "freezer", "cpuacct", "memory", "cpuset")
	tr := m.tracker(testMatcher{})
	m.refresh(tr)
	const job, step = "/slurm_n1/uid_1000/job_1", "/slurm_n1/uid_1000/job_1/step_0"
	m.mkdir(step, "freezer")
	m.until(tr, "job begins though its counter is slow to come", func() bool { return m.books.get("1", "0").open })
	m.mkdir(step, "cpuset", "memory", "cpuacct")
	for _, dir := range []string{"/slurm_n1", "/slurm_n1/uid_1000", job} {
		for _, file := range []string{"/cpuset.mems", "/cpuset.cpus"} {
			if err := os.WriteFile(m.roots["cpuset"]+dir+file, []byte("0"), 0); err != nil {
				// The test's own group has none yet.
				if err := os.WriteFile(m.roots["cpuset"]+file, []byte("0"), 0); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(m.roots["cpuset"]+dir+file, []byte("0"), 0); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	m.until(tr, "cpuset is known", func() bool { return slices.Equal(m.books.get("1", "").cpus, []int{0}) })
	m.burn(step, "cpuacct", 10*time.Millisecond)
	m.rmdir(job, "cpuacct")
	m.until(tr, "first life is accounted for", func() bool { return m.books.used("1", "0") == m.counter("/slurm_n1", "cpuacct") })
	if !m.books.get("1", "").open {
		t.Error("job has ended with its CPU counter, though it stands in other hierarchies")
	}
	m.mkdir(step, "cpuacct")
	m.burn(step, "cpuacct", 10*time.Millisecond)
	m.rmdir(job, "cpuacct", "memory", "freezer", "cpuset")
	m.until(tr, "job ends", func() bool { return !m.books.get("1", "").open })
	want := m.counter("/slurm_n1", "cpuacct")
	if g := m.books.get("1", ""); g.cpu != want || g.lives != 1 {
		t.Errorf("job: %+v; the parent counts %d", g, want)
	}
	if g := m.books.get("1", "0"); g.cpu != want || g.lives != 1 {
		t.Errorf("step: %+v; the parent counts %d", g, want)
	}
}

// Without an extern step Slurm removes the job's group between its steps and makes it again: a new incarnation.
func TestMadeAgain(t *testing.T) {
	for _, c := range []string{"cpuacct", "v2"} {
		t.Run(c, func(t *testing.T) {
			m := newMachine(t, c)
			tr := m.tracker(testMatcher{})
			m.refresh(tr)
			for i := range 3 {
				m.mkdir("/slurm_n1/uid_0/job_1/step_0", c)
				m.burn("/slurm_n1/uid_0/job_1/step_0", c, 5*time.Millisecond)
				m.until(tr, "step is begun", func() bool { return m.books.get("1", "0").lives == i+1 })
				m.rmdir("/slurm_n1/uid_0", c)
				m.until(tr, "job ends", func() bool { return !m.books.get("1", "").open })
			}
			m.within(c, 9, m.books.used("1", ""), m.counter("/slurm_n1", c))
			m.within(c, 9, m.books.used("1", "0"), m.counter("/slurm_n1", c))
		})
	}
}

// Two slurmds on one host: the job is the sum of its groups.
func TestTwoNodesOneHost(t *testing.T) {
	m := newMachine(t, "cpuacct")
	tr := m.tracker(testMatcher{})
	m.refresh(tr)
	for _, n := range []string{"n1", "n2"} {
		m.mkdir("/slurm_"+n+"/uid_0/job_1/step_0", "cpuacct")
		m.burn("/slurm_"+n+"/uid_0/job_1/step_0", "cpuacct", 10*time.Millisecond)
	}
	m.refresh(tr)
	m.rmdir("/slurm_n1/uid_0", "cpuacct")
	m.until(tr, "one group is gone", func() bool { return len(tr.parents.roots) == 2 && len(tr.nodes) == 5 })
	if !m.books.get("1", "").open {
		t.Error("job has ended with one of its two groups")
	}
	m.rmdir("/slurm_n2/uid_0", "cpuacct")
	m.until(tr, "job ends", func() bool { return !m.books.get("1", "").open })
	if got, want := m.books.used("1", "0"), m.counter("/slurm_n1", "cpuacct")+m.counter("/slurm_n2", "cpuacct"); got != want || m.books.parent != want {
		t.Errorf("step used %d, parents' sum %d, want %d", got, m.books.parent, want)
	}
}

// What daemons beside the jobs use is not taken for a vanished job's, and a removed parent keeps its part in the sum.
func TestOthersAndRemovedParents(t *testing.T) {
	for _, c := range []string{"cpuacct", "v2"} {
		t.Run(c, func(t *testing.T) {
			m := newMachine(t, c)
			tr := m.tracker(testMatcher{})
			m.refresh(tr)
			m.mkdir("/slurm_n1/system", c)
			m.mkdir("/slurm_n1/uid_0/job_1/step_0", c)
			m.until(tr, "job begins", func() bool { return m.books.get("1", "0").open })
			m.burn("/slurm_n1/system", c, 10*time.Millisecond)
			m.refresh(tr) // what system used is known: it is not job 1's
			m.burn("/slurm_n1/uid_0/job_1/step_0", c, 10*time.Millisecond)
			system := m.counter("/slurm_n1/system", c)
			m.rmdir("/slurm_n1/uid_0", c)
			m.until(tr, "job ends", func() bool { return !m.books.get("1", "").open })
			total := m.counter("/slurm_n1", c)
			m.within(c, 5, m.books.used("1", "0"), total-system)
			m.within(c, 5, m.books.parent, total-system)
			m.rmdir("/slurm_n1", c)
			m.until(tr, "parent is gone", func() bool { return len(tr.nodes) == 0 })
			m.within(c, 5, m.books.parent, total-system)
			m.mkdir("/slurm_n1/uid_0/job_2", c)
			m.burn("/slurm_n1/uid_0/job_2", c, 5*time.Millisecond)
			m.until(tr, "job 2 is read", func() bool { return m.books.used("2", "") == m.counter("/slurm_n1", c) })
			m.within(c, 9, m.books.parent, total-system+m.counter("/slurm_n1", c))
		})
	}
}

// Points: the first ones cover all since creation, edges make none, the last ones come after the group is gone.
func TestPoints(t *testing.T) {
	m := newMachine(t, "cpuacct", "memory")
	tr, p := m.pointsTracker(testMatcher{}, func(m Match) bool { return m.Role == Step })
	poll := func() map[string]agent.Point {
		var b agent.Batch
		if err := p.Poll(&b, m.now()); err != nil {
			t.Fatal(err)
		}
		found := map[string]agent.Point{}
		for _, x := range b.Points {
			kind, _ := x.Attrs.Get("kind")
			found[strings.TrimSpace(x.Metric.Name+" "+kind.Text())] = x
		}
		return found
	}
	poll()
	const step = "/slurm_n1/uid_1000/job_10707/step_0"
	m.mkdir(step, "memory", "cpuacct")
	m.burn(step, "cpuacct", 20*time.Millisecond)
	m.until(tr, "step begins", func() bool { return m.books.get("10707", "0").open })
	if err := p.Edge(m.now()); err != nil {
		t.Fatal(err)
	}
	got := poll()
	first := got["cpu_time_delta total"]
	if first.Value.Uint() != m.counter(step, "cpuacct") {
		t.Errorf("first point %v, the counter has %d", first.Value, m.counter(step, "cpuacct"))
	}
	if job, _ := first.Attrs.Get("job_id"); job.Num().Uint() != 10707 || first.Consumer != agent.Cgroup(step) || first.Resource != agent.LocalMachine() {
		t.Errorf("first point: %+v", first)
	}
	for _, name := range []string{"cpu_percent total", "cpu_time_delta user", "cpu_time_delta system", "memory_usage", "cgroup_memory_anonymous", "cgroup_memory_file"} {
		if _, ok := got[name]; !ok {
			t.Errorf("no %s in %v", name, got)
		}
	}
	if pc := got["cpu_percent total"].Value.Float(); pc <= 0 || pc > 100 {
		t.Errorf("cpu_percent %v", pc)
	}
	m.burn(step, "cpuacct", 10*time.Millisecond)
	m.rmdir("/slurm_n1/uid_1000", "memory", "cpuacct")
	m.until(tr, "step ends", func() bool { return !m.books.get("10707", "0").open })
	last := poll()["cpu_time_delta total"]
	if sum := first.Value.Uint() + last.Value.Uint(); sum != m.counter("/slurm_n1", "cpuacct") {
		t.Errorf("points sum up to %d, the parent counts %d", sum, m.counter("/slurm_n1", "cpuacct"))
	}
	if again := poll(); len(again) != 0 {
		t.Errorf("points of a group that is gone: %v", again)
	}
}
