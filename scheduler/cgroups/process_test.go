package cgroups

import (
	"testing"
	"time"

	"github.com/alumet-hpc/alumet-hpc/jobs"
)

func TestParseProcess(t *testing.T) {
	const stat = "1 (a) b) S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 99 1 2"
	if p, ok := parseProcess([]byte(stat)); !ok || p != (Process{Parent: 7, Start: 99, CPU: 26 * tickNs}) {
		t.Errorf("%+v %v", p, ok)
	}
	for _, bad := range []string{"", "1 (a", "1 (a) S", "1 (a) S 7 1 1 0 -1 4194560 1 2 3 4 x 6 7 8 20 0 1 0 99"} {
		if p, ok := parseProcess([]byte(bad)); ok {
			t.Errorf("%q: %+v", bad, p)
		}
	}
}

func FuzzParseProcess(f *testing.F) {
	f.Add([]byte("1 (a) b) S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 99 1 2"))
	f.Fuzz(func(t *testing.T, b []byte) { parseProcess(b) })
}

func TestProcessSum(t *testing.T) {
	var s ProcessSum
	for i, c := range []struct {
		seen map[int]Process
		want uint64
	}{
		{map[int]Process{1: {0, 1, 10}, 2: {1, 1, 20}, 3: {0, 1, 5}}, 35},
		{map[int]Process{1: {0, 1, 30}, 3: {0, 1, 6}}, 36}, // 2 was waited for by 1
		{map[int]Process{1: {0, 1, 31}}, 37},               // 3 by nobody that is known
		{map[int]Process{1: {0, 1, 31}, 3: {0, 2, 1}}, 38}, // another 3
		{map[int]Process{}, 38},
	} {
		if got := s.Update(c.seen); got != c.want {
			t.Errorf("%d: %d, want %d", i, got, c.want)
		}
	}
}

// Where only the freezer holds the jobs, their processes are read.
func TestFreezerOnly(t *testing.T) {
	m := newMachine(t, "freezer")
	tr := m.tracker(testMatcher{})
	m.refresh(tr)
	m.mkdir("/slurm_n1/uid_0/job_1/step_0", "freezer")
	cmd := m.burner("/slurm_n1/uid_0/job_1/step_0", "freezer", 500*time.Millisecond)
	m.until(tr, "processes are read", func() bool { return m.books.used("1", "0") >= 200e6 })
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	m.rmdir("/slurm_n1/uid_0", "freezer")
	m.until(tr, "job ends", func() bool { return !m.books.get("1", "").open })
	for _, step := range []string{"", "0"} {
		if g := m.books.get("1", step); g.cpu > 600e6 || g.cpu != m.books.parent || g.final != jobs.FinalLastRead {
			t.Errorf("step %q: %+v, parents' sum %d", step, g, m.books.parent)
		}
	}
	if len(tr.bare) != 0 {
		t.Error("the step is still read")
	}
}
