package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Options are what an agent needs beside its plugins. The zero value is usable.
type Options struct {
	// Sys and Proc are the roots of sysfs and procfs; empty: /sys and /proc.
	Sys, Proc string
	Log       *slog.Logger
	// Meter hears the sensors' raw readings; nil: nobody does.
	Meter Metering
	Clock Clock
	// EdgeGap is the least time between two readings that edges cause; 0: 5 ms. Readings that take long are spaced
	// further, so that a storm of edges costs at most 5 % of one CPU.
	EdgeGap time.Duration
	// Grace is how long outputs may take to write the rest when the agent stops; 0: 1 s.
	Grace time.Duration
	// Stopped is called when every source was read for the last time, before the outputs are waited for: what must not be
	// held up by an output that hangs. It may be nil.
	Stopped func() error
}

// Enabled is a plugin to open, with its configuration, a pointer as its Defaults returns it. Required: if it is not
// supported here, the agent does not start.
type Enabled struct {
	Plugin   Plugin
	Config   any
	Required bool
}

// Agent is an open pipeline. Make it with [New], run it once with [Agent.Run].
type Agent struct {
	o     Options
	log   *slog.Logger
	reg   *Registry
	el    elements
	lanes []*lane
	apply sync.Mutex // transforms edit one batch at a time
	off   []string   // plugins that are not supported here, with the reason
	on    []string
}

// New opens the plugins in the given order, which is also the order of their transforms. A plugin whose hardware is not
// here is left out, with one line in the log that says why. On error everything is closed again.
func New(o Options, plugins []Enabled) (*Agent, error) {
	if o.Sys == "" {
		o.Sys = "/sys"
	}
	if o.Proc == "" {
		o.Proc = "/proc"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.EdgeGap == 0 {
		o.EdgeGap = 5 * time.Millisecond
	}
	if o.Grace == 0 {
		o.Grace = time.Second
	}
	a := &Agent{o: o, log: o.Log, reg: NewRegistry()}
	main := a.lane("")
	for _, p := range plugins {
		err := a.open(p, main.edge)
		switch {
		case err == nil:
			a.on = append(a.on, p.Plugin.Name)
		case errors.Is(err, ErrNotSupported) && !p.Required:
			a.off = append(a.off, p.Plugin.Name)
			a.log.Info("plugin is off", "plugin", p.Plugin.Name, "reason", err)
		default:
			return nil, errors.Join(err, a.close())
		}
	}
	for _, s := range a.el.sources {
		s.edger, _ = s.src.(Edger)
		l := a.lane(s.Lane)
		l.sources = append(l.sources, s)
	}
	for _, l := range a.lanes {
		slices.SortStableFunc(l.sources, func(x, y *sourceElement) int { return int(x.Phase) - int(y.Phase) })
	}
	for _, out := range a.el.outputs {
		out.queue = newQueue()
	}
	return a, nil
}

func (a *Agent) open(p Enabled, edge func()) error {
	opened, err := Open(p.Plugin, p.Config, OpenOptions{
		Sys: a.o.Sys, Proc: a.o.Proc, Log: a.log.With("plugin", p.Plugin.Name), Meter: a.o.Meter, Edge: edge, Metrics: a.reg,
	})
	if err != nil {
		return err
	}
	a.el.sources = append(a.el.sources, opened.el.sources...)
	a.el.feeds = append(a.el.feeds, opened.el.feeds...)
	a.el.transforms = append(a.el.transforms, opened.el.transforms...)
	a.el.outputs = append(a.el.outputs, opened.el.outputs...)
	a.el.closers = append(a.el.closers, opened.Close)
	return nil
}

func (a *Agent) lane(name string) *lane {
	for _, l := range a.lanes {
		if l.name == name {
			return l
		}
	}
	l := &lane{name: name, agent: a, wake: make(chan struct{}, 1), requests: make(chan chan<- struct{})}
	a.lanes = append(a.lanes, l)
	return l
}

// Metrics are all metrics of the agent.
func (a *Agent) Metrics() *Registry { return a.reg }

// Plugins tells which plugins are open and which are not supported here.
func (a *Agent) Plugins() (on, off []string) { return a.on, a.off }

// Count tells how many sources (with feeds), transforms and outputs there are.
func (a *Agent) Count() (sources, transforms, outputs int) {
	return len(a.el.sources) + len(a.el.feeds), len(a.el.transforms), len(a.el.outputs)
}

// Run measures until ctx ends. Then every source is read once more, everything is flushed to the outputs and closed. The
// error is what went wrong in closing; failing elements are retried and logged meanwhile. ready is called when the loop
// runs; it may be nil.
func (a *Agent) Run(ctx context.Context, ready func()) error {
	out, stopOutputs := context.WithCancel(context.WithoutCancel(ctx))
	defer stopOutputs()
	var lanes, outputs sync.WaitGroup
	for _, o := range a.el.outputs {
		outputs.Go(func() { o.run(out, a.log) })
	}
	for _, f := range a.el.feeds {
		lanes.Go(func() { a.feed(ctx, f) })
	}
	for _, l := range a.lanes {
		lanes.Go(func() { l.run(ctx) })
	}
	if ready != nil {
		ready()
	}
	lanes.Wait()
	var err error
	if a.o.Stopped != nil {
		err = a.o.Stopped()
	}
	for _, o := range a.el.outputs {
		o.queue.close()
	}
	late := time.AfterFunc(a.o.Grace, stopOutputs)
	defer late.Stop()
	return errors.Join(err, a.finish(&outputs))
}

// finish waits for the outputs and closes everything. What hangs, in a write to a dead file system for example, is left
// behind a little later than Grace.
func (a *Agent) finish(outputs *sync.WaitGroup) error {
	done := make(chan error, 1)
	go func() {
		outputs.Wait()
		done <- a.close()
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(a.o.Grace + 500*time.Millisecond):
	}
	left := 0
	for _, o := range a.el.outputs {
		left += o.queue.left()
	}
	return fmt.Errorf("an output hangs and was left behind, with %d points that wait", left)
}

// Edge asks for a reading between ticks; see [Setup]. It may be called from any goroutine.
func (a *Agent) Edge() { a.lanes[0].edge() }

// ReadNow has every source read and flushed at once, and returns when that is done. It is for the moments right before
// and after an observed program runs; Run must be running.
func (a *Agent) ReadNow(ctx context.Context) error {
	for _, l := range a.lanes {
		done := make(chan struct{})
		select {
		case l.requests <- done:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (a *Agent) feed(ctx context.Context, f *feedElement) {
	emit := func(b *Batch) error {
		a.forward(b)
		return ctx.Err()
	}
	for ctx.Err() == nil {
		err := f.run(ctx, emit)
		if ctx.Err() != nil || errors.Is(err, ErrGone) {
			return
		}
		f.note(a.log, "source", err)
		select {
		case <-time.After(backOff(max(1, f.failures), time.Second, time.Minute)):
		case <-ctx.Done():
		}
	}
}

func (f *feedElement) run(ctx context.Context, emit func(*Batch) error) (err error) {
	defer recovered(&err)
	return f.feed.Run(ctx, emit)
}

// forward passes a batch through the transforms and hands it to every output.
func (a *Agent) forward(b *Batch) {
	if len(b.Points) == 0 {
		return
	}
	a.apply.Lock()
	defer a.apply.Unlock()
	for _, t := range a.el.transforms {
		t.note(a.log, "transform", t.apply(b))
	}
	for _, o := range a.el.outputs {
		n := o.queue.put(b)
		if n > 0 && !o.dropping {
			a.log.Warn("output is too slow or fails: from now on the oldest points are dropped", "element", o.String())
		}
		o.dropping = n > 0
	}
}

func (t *transformElement) apply(b *Batch) (err error) {
	defer recovered(&err)
	return t.transform.Apply(b)
}

func (a *Agent) close() error {
	var errs []error
	for _, f := range slices.Backward(a.el.closers) {
		errs = append(errs, f())
	}
	a.el.closers = nil
	return errors.Join(errs...)
}
