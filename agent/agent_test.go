package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

// script is a source that counts its calls and fails or panics as told.
type script struct {
	mu    sync.Mutex
	m     *Metric
	polls []Instant
	edges []Instant
	fail  func(n int) error
}

func (s *script) Poll(b *Batch, now Instant) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.polls = append(s.polls, now)
	if s.fail != nil {
		if err := s.fail(len(s.polls)); err != nil {
			return err
		}
	}
	b.Add(s.m, now.Wall, U64(uint64(len(s.polls))), LocalMachine(), NoConsumer(), nil)
	return nil
}

func (s *script) Edge(now Instant) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.edges = append(s.edges, now)
	return nil
}

// sink keeps what it was given.
type sink struct {
	mu     sync.Mutex
	values []uint64
	fail   func(n int) error
	calls  int
}

func (s *sink) Write(_ context.Context, b *Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.fail != nil {
		if err := s.fail(s.calls); err != nil {
			return err
		}
	}
	for _, p := range b.Points {
		s.values = append(s.values, p.Value.Uint())
	}
	return nil
}

type empty struct{}

func plugin(name string, open func(*Setup)) Enabled {
	return Enabled{Plugin: Define(name, "test", func() empty { return empty{} }, func(s *Setup, _ empty) error {
		open(s)
		return nil
	})}
}

func metric(s *Setup) *Metric { return s.Metric(Metric{Name: "m", Type: TypeU64}) }

func TestTickSharesOneInstantInOrderOfPhases(t *testing.T) {
	var order []string
	add := func(s *Setup, name string, phase Phase, period time.Duration) {
		s.Source(name, Schedule{Period: period, Phase: phase}, pollFunc(func(b *Batch, now Instant) error {
			order = append(order, fmt.Sprintf("%s@%d", name, now.Boot/1e6))
			return nil
		}))
	}
	a, err := New(Options{}, []Enabled{plugin("p", func(s *Setup) {
		add(s, "settle", PhaseSettle, time.Second)
		add(s, "usage", PhaseUsage, time.Second)
		add(s, "energy", PhaseEnergy, time.Second)
		add(s, "slow", PhaseEnergy, 5*time.Second)
	})})
	if err != nil {
		t.Fatal(err)
	}
	l := a.lanes[0]
	for _, ms := range []int64{0, 1000, 2000, 4700, 5000} {
		if now := (Instant{Boot: ms * 1e6}); now.Boot >= l.due() {
			l.tick(now)
		}
	}
	want := "[energy@0 slow@0 usage@0 settle@0 energy@1000 usage@1000 settle@1000 energy@2000 usage@2000 settle@2000 " +
		"energy@4700 usage@4700 settle@4700 energy@5000 slow@5000 usage@5000 settle@5000]"
	if got := fmt.Sprint(order); got != want {
		t.Errorf("order\n got %s\nwant %s", got, want)
	}
	if l.overruns != 3 { // three sources missed the tick at 3 s and were late for that at 4 s
		t.Errorf("overruns %d, want 3", l.overruns)
	}
}

type pollFunc func(*Batch, Instant) error

func (f pollFunc) Poll(b *Batch, now Instant) error { return f(b, now) }

func TestFailingSourceBacksOffAndHarmsNobody(t *testing.T) {
	bad := &script{fail: func(n int) error {
		if n < 4 {
			return errors.New("broken")
		}
		return nil
	}}
	panics := &script{fail: func(int) error { panic("boom") }}
	gone := &script{fail: func(int) error { return fmt.Errorf("it: %w", ErrGone) }}
	good := &script{}
	out := &sink{}
	a, err := New(Options{}, []Enabled{plugin("p", func(s *Setup) {
		m := metric(s)
		for i, x := range []*script{bad, panics, gone, good} {
			x.m = m
			s.Source(fmt.Sprint(i), Schedule{Period: time.Second}, x)
		}
		s.Output("out", out)
	})})
	if err != nil {
		t.Fatal(err)
	}
	l := a.lanes[0]
	for i := range int64(20) {
		l.tick(Instant{Boot: i * 1e9})
	}
	if len(good.polls) != 20 || len(gone.polls) != 1 || len(bad.polls) < 10 || len(bad.polls) > 17 || len(panics.polls) > 6 {
		t.Errorf("polls: good %d, gone %d, bad %d, panics %d", len(good.polls), len(gone.polls), len(bad.polls), len(panics.polls))
	}
}

func TestOutputsRetryAndAreIndependent(t *testing.T) {
	src := &script{}
	flaky := &sink{fail: func(n int) error {
		if n%2 == 1 {
			return errors.New("busy")
		}
		return nil
	}}
	bad := &sink{fail: func(int) error { panic("boom") }}
	good := &sink{}
	a, err := New(Options{Grace: 300 * time.Millisecond}, []Enabled{plugin("p", func(s *Setup) {
		src.m = metric(s)
		s.Source("in", Schedule{Period: 2 * time.Millisecond, Flush: 10 * time.Millisecond}, src)
		s.Output("good", good)
		s.Output("flaky", flaky)
		s.Output("bad", bad)
	})})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	begin := time.Now()
	if err := a.Run(ctx, nil); err != nil {
		t.Error(err)
	}
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("stopping took %v", d)
	}
	for i, v := range good.values {
		if v != uint64(i+1) {
			t.Fatalf("value %d is %d: lost or doubled", i, v)
		}
	}
	if len(good.values) != len(src.polls) {
		t.Errorf("good output has %d points of %d", len(good.values), len(src.polls))
	}
	for i, v := range flaky.values {
		if v != uint64(i+1) {
			t.Fatalf("flaky value %d is %d: lost or doubled", i, v)
		}
	}
}

// An output that never returns must not keep the agent from stopping, nor the books from being closed.
func TestHangingOutputIsLeftBehind(t *testing.T) {
	src, hang := &script{}, make(chan struct{})
	defer close(hang)
	closed := false
	a, err := New(Options{Grace: 50 * time.Millisecond, Stopped: func() error { closed = true; return nil }}, []Enabled{plugin("p", func(s *Setup) {
		src.m = metric(s)
		s.Source("in", Schedule{Period: time.Millisecond}, src)
		s.Output("out", writeFunc(func() { <-hang }))
	})})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	begin := time.Now()
	if err := a.Run(ctx, nil); err == nil || !closed {
		t.Errorf("error %v, books closed %v", err, closed)
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("stopping took %v", d)
	}
}

type writeFunc func()

func (f writeFunc) Write(context.Context, *Batch) error { f(); return nil }

func TestEdgesAreCoalesced(t *testing.T) {
	src := &script{}
	var edge func()
	a, err := New(Options{EdgeGap: 20 * time.Millisecond}, []Enabled{plugin("p", func(s *Setup) {
		src.m = metric(s)
		s.Source("in", Schedule{Period: time.Hour}, src)
		edge = s.Edge
	})})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.Run(ctx, nil) }()
	begin := time.Now()
	for time.Since(begin) < 100*time.Millisecond {
		edge()
		time.Sleep(time.Millisecond)
	}
	elapsed := time.Since(begin)
	if err := a.ReadNow(ctx); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n, most := len(src.edges), int(elapsed/(20*time.Millisecond))+2; n < 2 || n > most {
		t.Errorf("%d edge readings in %v, want 2 to %d", n, elapsed, most)
	}
	for i := 1; i < len(src.edges); i++ {
		if d := src.edges[i].Boot - src.edges[i-1].Boot; d < 20e6 {
			t.Errorf("edges %d ns apart", d)
		}
	}
	if len(src.polls) != 3 { // at the start, by ReadNow, at the end
		t.Errorf("%d polls, want 3", len(src.polls))
	}
}

func TestUnsupportedPluginIsOffUnlessRequired(t *testing.T) {
	p := Enabled{Plugin: Define("gpu", "test", func() empty { return empty{} }, func(*Setup, empty) error {
		return fmt.Errorf("no library: %w", ErrNotSupported)
	})}
	a, err := New(Options{}, []Enabled{p})
	if err != nil {
		t.Fatal(err)
	}
	if _, off := a.Plugins(); len(off) != 1 {
		t.Errorf("off: %v", off)
	}
	p.Required = true
	if _, err := New(Options{}, []Enabled{p}); !errors.Is(err, ErrNotSupported) {
		t.Errorf("error %v", err)
	}
}

func TestQueueDropsTheOldest(t *testing.T) {
	q := newQueue()
	b := &Batch{Points: make([]Point, maxQueued/4)}
	for range 4 {
		if n := q.put(b); n != 0 {
			t.Fatalf("dropped %d", n)
		}
	}
	if n := q.put(b); n != maxQueued/4 {
		t.Errorf("dropped %d", n)
	}
	if q.left() != maxQueued {
		t.Errorf("left %d", q.left())
	}
}

func TestPollingAllocatesNothing(t *testing.T) {
	a, err := New(Options{}, []Enabled{plugin("p", func(s *Setup) {
		m := metric(s)
		s.Source("in", Schedule{Period: time.Second}, pollFunc(func(b *Batch, now Instant) error {
			for i := range 100 {
				b.Add(m, now.Wall, U64(uint64(i)), LocalMachine(), NoConsumer(), nil)
			}
			return nil
		}))
	})})
	if err != nil {
		t.Fatal(err)
	}
	l := a.lanes[0]
	i := int64(0)
	tick := func() { l.tick(Instant{Boot: i * 1e9}); i++ }
	tick()
	if n := testing.AllocsPerRun(100, tick); n != 0 {
		t.Errorf("%v allocations a tick", n)
	}
}
