package cgroups

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// footprint is what a tracker holds.
type footprint struct {
	fds, watches, goroutines, dirs, nodes, units, names, series int
	heap                                                        uint64
}

func (m *machine) footprint(tr *Tracker, p *Points) footprint {
	m.t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		m.t.Fatal(err)
	}
	f := footprint{fds: len(fds), goroutines: runtime.NumGoroutine(), nodes: len(tr.nodes), units: len(tr.units), names: len(tr.byName), series: len(p.series)}
	infos, _ := filepath.Glob("/proc/self/fdinfo/*")
	for _, name := range infos {
		text, _ := os.ReadFile(name)
		f.watches += bytes.Count(text, []byte("inotify wd:"))
	}
	tr.watch.mu.Lock()
	f.dirs = len(tr.watch.dirs) + len(tr.watch.nodes) + len(tr.watch.unnamed)
	tr.watch.mu.Unlock()
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	f.heap = mem.HeapAlloc
	return f
}

// groupsComeAndGo makes and removes n jobs, some at a time and some gone at once, and compares what is held before and after.
func groupsComeAndGo(t *testing.T, c string, n int) {
	m := newMachine(t, c)
	tr, p := m.pointsTracker(testMatcher{parts: true}, func(m Match) bool { return m.Role >= Job })
	tr.books = deafBooks{}
	m.mkdir("/slurm_n1/uid_0", c)
	m.refresh(tr)
	some := func(first, n int) {
		for i := first; i < first+n; i++ {
			job := "/slurm_n1/uid_0/job_" + strconv.Itoa(i)
			m.mkdir(job+"/step_0/task_0", c)
			if i%10 != 0 {
				m.rmdir(job, c)
			}
		}
		m.refresh(tr)
		for i := first; i < first+n; i++ {
			m.rmdir("/slurm_n1/uid_0/job_"+strconv.Itoa(i), c)
		}
	}
	poll := func() {
		m.until(tr, "all groups are gone", func() bool { return len(tr.nodes) == 2 && len(tr.facts.asked) == 0 })
		b := newBatch()
		if err := p.Poll(b, m.now()); err != nil {
			t.Fatal(err)
		}
	}
	some(0, 200)
	poll()
	before := m.footprint(tr, p)
	for i := 200; i < n; i += 100 {
		some(i, 100)
	}
	poll()
	after := m.footprint(tr, p)
	t.Logf("before %+v, after %d groups %+v", before, n, after)
	grown := after.heap - min(after.heap, before.heap)
	before.heap, after.heap = 0, 0
	if before != after {
		t.Errorf("held before %+v and after %+v", before, after)
	}
	if grown > 4<<20 {
		t.Errorf("heap has grown by %d bytes", grown)
	}
	if strings.Contains(m.log.String(), "level=ERROR") {
		t.Errorf("log: %s", m.log)
	}
}

func TestGroupsComeAndGo(t *testing.T) {
	for _, c := range []string{"cpuacct", "v2"} {
		t.Run(c, func(t *testing.T) { groupsComeAndGo(t, c, 3000) })
	}
}

func TestSoakGroups(t *testing.T) {
	if !soaking() {
		t.Skip("make soak runs it")
	}
	for _, c := range []string{"cpuacct", "v2"} {
		t.Run(c, func(t *testing.T) { groupsComeAndGo(t, c, 100_000) })
	}
}
