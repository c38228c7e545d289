package store

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// The test binary runs itself again as another process, or as another user.
const (
	envWrite = "STORE_TEST_WRITE" // record into this file for ever, printing each acknowledged commit
	envRead  = "STORE_TEST_READ"  // read this file once, as the present user
)

func TestMain(m *testing.M) {
	if path := os.Getenv(envWrite); path != "" {
		writeForEver(path)
	}
	if path := os.Getenv(envRead); path != "" {
		r, err := OpenRead(path)
		if err == nil {
			err = readAll(r)
		}
		fmt.Println(err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func writeForEver(path string) {
	s, err := Open(path)
	for n := int64(1); err == nil; n++ {
		if err = s.Record(balanced(n)); err == nil {
			fmt.Println(n)
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

func readAll(r *Reader) error {
	v, err := r.View()
	if err != nil {
		return err
	}
	list, err := v.List(Filter{})
	if err == nil && len(list) == 0 {
		err = errors.New("no jobs")
	}
	return err
}

// balanced makes a record at time n whose accounts add up, with state that names the time.
func balanced(n int64) *jobs.Record {
	u := uint64(n)
	meanwhile := jobs.Totals{MeasuredUJ: 10 * u, SystemUJ: u, IdleUJ: 2 * u}
	return &jobs.Record{
		Time: n, Wall: n, Policy: "hybrid/1", State: []byte(strconv.FormatInt(n, 10)),
		Sensors: []jobs.SensorRecord{{
			Sensor: agent.Sensor{Name: "rapl:package:0", Resource: agent.CPUPackage(0), Domain: "package"},
			Totals: meanwhile,
		}},
		Jobs: []jobs.JobRecord{{
			ID: jobs.ID{Scheduler: "slurm", Name: "7"}, Begin: 1, Lives: 1,
			Steps: []jobs.StepRecord{{Step: "0", Begin: 1}},
			Figures: []jobs.Figure{
				{Sensor: "rapl:package:0", UJ: 7 * u, Meanwhile: meanwhile},
				{Sensor: "rapl:package:0", Step: "0", UJ: 5 * u},
				{Sensor: "rapl:package:0", Step: jobs.Between, UJ: 2 * u},
			},
		}},
	}
}

func openT(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func viewT(t testing.TB, path string) *View {
	t.Helper()
	r, err := OpenRead(path)
	if err != nil {
		t.Fatal(err)
	}
	v, err := r.View()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close(); r.Close() })
	return v
}

func recordT(t testing.TB, s *Store, r *jobs.Record) {
	t.Helper()
	if err := s.Record(r); err != nil {
		t.Fatal(err)
	}
}

func full() *jobs.Record {
	return &jobs.Record{
		Time: 100, Wall: 1_700_000_000_000_000_000, Policy: "hybrid/1", State: []byte{0, 1, 255},
		Sensors: []jobs.SensorRecord{{
			Sensor: agent.Sensor{
				Name: "nvml:gpu:0", Resource: agent.GPU("0000:3b:00.0"), Domain: "gpu", Part: "die:1", Socket: -1, Holders: true,
				Scope: agent.ScopePart, RangeUJ: math.MaxUint64, MaxUW: 1 << 63, MaxGapNs: 5, StepNs: 6, Integrated: true,
				Estimated: true, Root: "/tmp/sim",
			},
			Totals:       jobs.Totals{MeasuredUJ: math.MaxInt64, SystemUJ: 2, IdleUJ: 3, VanishedUJ: 4, UnobservedUJ: 5},
			UnmeasuredNs: 6, FloorUW: 7, FloorLearned: true, LastUW: 8,
		}},
		Jobs: []jobs.JobRecord{{
			ID: jobs.ID{Scheduler: "slurm", Name: "10711"},
			Facts: jobs.Facts{
				User: "alice", UID: 1000, JobName: "a 'quoted' näme\x00", Account: "proj", Partition: "cpu", ArrayJob: "10707",
				ArrayTask: "4", HetJob: "10800", HetOffset: "1", Cgroup: "/slurm/uid_1000/job_10711", CPUs: []int{0, 1, 2, 7, 9, 10},
			},
			Begin: 10, End: 90, WallBegin: 1_600_000_000_000_000_000, WallEnd: 1_600_000_000_000_000_080, SeenBegin: true,
			FinalReading: jobs.FinalParent, Lives: 2, CPUNs: 77, ExistNs: 80, Policy: "hybrid/1",
			Steps: []jobs.StepRecord{
				{Step: "batch", SeenBegin: true, Begin: 11, End: 89, WallBegin: 1, WallEnd: 2, CPUNs: 60, FinalReading: jobs.FinalGroup},
				{Step: "0", SeenBegin: true, Begin: 20, End: 30, WallBegin: 3, WallEnd: 4, CPUNs: 9, FinalReading: jobs.FinalShared},
			},
			Figures: []jobs.Figure{
				{Sensor: "nvml:gpu:0", UJ: 60, LateUJ: 1, UncertainUJ: 2, CoveredNs: 3, Meanwhile: jobs.Totals{MeasuredUJ: 100, SystemUJ: 1, IdleUJ: 2, VanishedUJ: 3, UnobservedUJ: 4}},
				{Sensor: "nvml:gpu:0", Step: "0", UJ: 10, LateUJ: 1, UncertainUJ: 1},
				{Sensor: "nvml:gpu:0", Step: "batch", UJ: 20},
				{Sensor: "nvml:gpu:0", Step: jobs.Between, UJ: 30},
			},
		}},
	}
}

func TestEverythingComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made", "here", "jobs.db")
	s := openT(t, path)
	want := full()
	recordT(t, s, want)
	recordT(t, s, want)
	if err := s.SetNode("node7", "grenoble"); err != nil {
		t.Fatal(err)
	}
	v := viewT(t, path)
	for _, q := range []Query{
		{Name: "10711"}, {Name: "10711", Scheduler: "slurm"}, {Name: "10707", ArrayTask: "4"}, {Name: "10800", HetOffset: "1"},
	} {
		got, err := v.Job(q)
		if err != nil || !reflect.DeepEqual(got, want.Jobs) {
			t.Errorf("Job(%+v) = %+v, %v\nwant %+v", q, got, err, want.Jobs)
		}
	}
	for _, q := range []Query{{Name: "10707"}, {Name: "10711", Scheduler: "oar"}, {Name: "10707", ArrayTask: "5"}, {Name: ""}} {
		if got, err := v.Job(q); err != nil || got != nil {
			t.Errorf("Job(%+v) = %+v, %v, want nothing", q, got, err)
		}
	}
	for _, name := range []string{"10707", "10800"} {
		if got, err := v.Members(name); err != nil || len(got) != 1 || got[0].ID.Name != "10711" {
			t.Errorf("Members(%s) = %+v, %v", name, got, err)
		}
	}
	if got, err := v.Sensors(); err != nil || !reflect.DeepEqual(got, want.Sensors) {
		t.Errorf("Sensors = %+v, %v\nwant %+v", got, err, want.Sensors)
	}
	known, err := v.Known()
	wantKnown := Known{"node7", "grenoble", 1, want.Jobs[0].WallBegin, want.Jobs[0].WallBegin, 100, want.Wall, "hybrid/1"}
	if err != nil || known != wantKnown {
		t.Errorf("Known = %+v, %v\nwant %+v", known, err, wantKnown)
	}
	if blob, ok, err := s.State(); string(blob) != "\x00\x01\xff" || !ok || err != nil {
		t.Errorf("State = %q, %v, %v", blob, ok, err)
	}
}

func TestMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	s := openT(t, path)
	if _, ok, err := s.State(); ok || err != nil {
		t.Errorf("State of a new store: %v, %v", ok, err)
	}
	if _, ok, err := s.LastTime(); ok || err != nil {
		t.Errorf("LastTime of a new store: %v, %v", ok, err)
	}
	if _, ok, err := s.Boot("a"); ok || err != nil {
		t.Errorf("Boot of a new store: %v, %v", ok, err)
	}
	if err := errors.Join(s.SetBoot("a", 5), s.SetBoot("b", -6), s.SetBoot("a", 7)); err != nil {
		t.Fatal(err)
	}
	recordT(t, s, balanced(42))
	s.Close()
	s = openT(t, path)
	if ns, ok, err := s.Boot("a"); ns != 7 || !ok || err != nil {
		t.Errorf("Boot(a) = %d, %v, %v", ns, ok, err)
	}
	if ns, ok, err := s.LastTime(); ns != 42 || !ok || err != nil {
		t.Errorf("LastTime = %d, %v, %v", ns, ok, err)
	}
}

func TestList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	s := openT(t, path)
	r := balanced(9)
	r.Jobs = nil
	for i := range 6 {
		j := jobs.JobRecord{ID: jobs.ID{Scheduler: "slurm", Name: strconv.Itoa(i)}, Begin: int64(i), WallBegin: int64(100 + i)}
		j.Facts.User, j.Facts.UID = []string{"alice", "bob"}[i%2], int64(1000+i%2)
		if i < 4 {
			j.End, j.WallEnd = int64(i+1), int64(200+i)
		}
		r.Jobs = append(r.Jobs, j)
	}
	again := r.Jobs[2] // requeued; the job is one, whatever the limit
	again.Begin, again.WallBegin = 50, 103
	r.Jobs = append(r.Jobs, again)
	recordT(t, s, r)
	v := viewT(t, path)
	for _, c := range []struct {
		filter Filter
		want   string
	}{
		{Filter{}, "5 4 2 3 2 1 0"}, {Filter{Limit: 3}, "5 4 2 2"}, {Filter{Limit: 2}, "5 4"}, {Filter{User: "bob"}, "5 3 1"}, {Filter{User: "1000"}, "4 2 2 0"},
		{Filter{Live: true}, "5 4"}, {Filter{Since: 202}, "5 4 2 3 2"}, {Filter{User: "nobody"}, ""},
		{Filter{User: "alice", Live: true, Limit: 9, Since: 1}, "4"},
	} {
		list, err := v.List(c.filter)
		var names []string
		for _, j := range list {
			names = append(names, j.ID.Name)
		}
		if got := strings.Join(names, " "); got != c.want || err != nil {
			t.Errorf("List(%+v) = %s, %v, want %s", c.filter, got, err, c.want)
		}
	}
}

func TestPolicyChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	s := openT(t, path)
	for _, p := range []string{"hybrid/1", "hybrid/1", "hybrid/10", "usage/1", "hybrid/1", "hybrid/10"} {
		r := balanced(1)
		r.Policy = p
		recordT(t, s, r)
	}
	list, err := viewT(t, path).Job(Query{Name: "7"})
	if err != nil || list[0].Policy != "hybrid/1, hybrid/10, usage/1" {
		t.Errorf("policy %q, %v", list[0].Policy, err)
	}
}

func TestRefusedRecordLeavesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	s := openT(t, path)
	recordT(t, s, balanced(1))
	for want, spoil := range map[string]func(r *jobs.Record){
		"energy 9223372036854775808: more than 2^63-1":          func(r *jobs.Record) { r.Jobs[0].Figures[1].UJ = 1 << 63 },
		"measured 18446744073709551615: more than 2^63-1":       func(r *jobs.Record) { r.Sensors[0].Totals.MeasuredUJ = math.MaxUint64 },
		"job slurm/7: sensor wattmeter of a figure: not among":  func(r *jobs.Record) { r.Jobs[0].Figures[0].Sensor = "wattmeter" },
		"sensor rapl:package:0: system 9223372036854775808: mo": func(r *jobs.Record) { r.Sensors[0].Totals.SystemUJ = 1 << 63 },
	} {
		r := balanced(2)
		spoil(r)
		if err := s.Record(r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	if ns, _, err := s.LastTime(); ns != 1 || err != nil {
		t.Errorf("time %d, %v after refused records, want 1", ns, err)
	}
	recordT(t, s, balanced(3))
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "jobs.db")
	s := openT(t, path)
	if err := os.Symlink(path, filepath.Join(dir, "other.db")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, filepath.Join(dir, "other.db")} {
		_, err := Open(name)
		if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprintf("process %d (", os.Getpid())) {
			t.Errorf("second Open(%s): %v", name, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Record(balanced(1)); err == nil {
		t.Error("a closed store recorded")
	}
	recordT(t, openT(t, path), balanced(1))
}

func TestModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	recordT(t, openT(t, path), balanced(1))
	for _, end := range []string{"", "-wal", "-shm", ".lock"} {
		info, err := os.Stat(path + end)
		if err != nil || info.Mode().Perm()&^0o640 != 0 {
			t.Errorf("%s%s: %v, %v, want nothing beyond 0640", path, end, info.Mode(), err)
		}
	}
}

// TestKilled ends a writing process at an arbitrary instant: what it was told is recorded must be there.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	for round := range int64(3) {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), envWrite+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		var last int64
		for lines.Scan() {
			if last, err = strconv.ParseInt(lines.Text(), 10, 64); err != nil {
				t.Fatalf("writer said %q", lines.Text())
			}
			if last == 20+7*round {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		checkBalanced(t, path, last, last+1)
	}
}

// checkBalanced opens a store as after a crash and expects the whole of one commit between from and to.
func checkBalanced(t *testing.T, path string, from, to int64) {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n, _, err := s.LastTime()
	if err != nil || n < from || n > to {
		t.Fatalf("last commit %d, %v, want %d to %d", n, err, from, to)
	}
	if n == 0 {
		return
	}
	if state, _, err := s.State(); string(state) != strconv.FormatInt(n, 10) || err != nil {
		t.Errorf("state %s, %v beside commit %d", state, err, n)
	}
	v := viewT(t, path)
	a, err := v.Accounts("rapl:package:0")
	if err != nil || a.MeasuredUJ != uint64(10*n) || a.ImbalanceUJ() != 0 {
		t.Errorf("accounts %+v, %v in commit %d", a, err, n)
	}
	if list, err := v.Job(Query{Name: "7"}); err != nil || !reflect.DeepEqual(list[0].Figures, balanced(n).Jobs[0].Figures) {
		t.Errorf("figures %+v, %v in commit %d", list, err, n)
	}
}

// copyFiles copies a store and its log as a crash would leave them on the disk, the log cut to at most logSize bytes.
func copyFiles(t *testing.T, path string, logSize int) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "jobs.db")
	for _, end := range []string{"", "-wal"} {
		b, err := os.ReadFile(path + end)
		if err != nil {
			t.Fatal(err)
		}
		if end != "" {
			b = b[:min(len(b), logSize)]
		}
		if err := os.WriteFile(to+end, b, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func TestCrashInTransaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	s := openT(t, path)
	recordT(t, s, balanced(1))
	recordT(t, s, balanced(2))
	// With no page cache, pages go into the log before the commit that would make them count.
	script := `PRAGMA cache_size = 1; BEGIN IMMEDIATE; UPDATE books SET time_ns = 3; UPDATE figure SET uj = 0;
		UPDATE sensor SET measured_uj = 0; CREATE TABLE filler AS
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 2000) SELECT i, hex(zeroblob(100)) FROM n`
	before := fileSize(t, path+"-wal")
	if _, err := s.conn.ExecContext(t.Context(), script); err != nil {
		t.Fatal(err)
	}
	if fileSize(t, path+"-wal") == before {
		t.Fatal("the open transaction wrote nothing to the log: nothing is tested")
	}
	checkBalanced(t, copyFiles(t, path, math.MaxInt), 2, 2)
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestTornLog cuts the log at many places: what remains is always one whole commit.
func TestTornLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	openAndClose(t, path) // brings the schema and the first commit into the file: the log begins anew
	s := openT(t, path)
	for n := int64(2); n < 8; n++ {
		recordT(t, s, balanced(n))
	}
	size := int(fileSize(t, path+"-wal"))
	for cut := 0; cut <= size; cut += 1 + size/60 {
		checkBalanced(t, copyFiles(t, path, cut), 1, 7)
	}
}

func TestReadWhileWriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	s := openT(t, path)
	recordT(t, s, balanced(1))
	r, err := OpenRead(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	const commits = 200
	done := make(chan error, 1)
	go func() {
		var err error
		for n := int64(2); n <= commits && err == nil; n++ {
			err = s.Record(balanced(n))
		}
		done <- err
	}()
	seen := map[int64]bool{}
	for last := int64(0); last < commits; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			done = nil
		default:
		}
		last = checkOneView(t, r)
		seen[last] = true
	}
	if len(seen) < 2 {
		t.Errorf("the reader saw %d states of %d", len(seen), commits)
	}
}

// checkOneView checks that all queries of a view agree, and returns the commit it shows.
func checkOneView(t *testing.T, r *Reader) int64 {
	t.Helper()
	v, err := r.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	known, err := v.Known()
	if err != nil {
		t.Fatal(err)
	}
	a, err := v.Accounts("rapl:package:0")
	if err != nil || a.ImbalanceUJ() != 0 || a.MeasuredUJ != uint64(10*known.Time) {
		t.Fatalf("accounts %+v, %v at %d", a, err, known.Time)
	}
	list, err := v.Job(Query{Name: "7"})
	if err != nil || list[0].Figures[0].UJ != uint64(7*known.Time) {
		t.Fatalf("job %+v, %v at %d", list, err, known.Time)
	}
	return known.Time
}

func openAndClose(t *testing.T, path string) {
	t.Helper()
	s := openT(t, path)
	recordT(t, s, balanced(1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
