package agent

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Opened is one plugin that was opened alone, without the loop: its elements are called by hand. It is what tests of
// plugins and one-shot commands work with.
type Opened struct {
	// Sources, Feeds, Transforms and Outputs are the plugin's elements by name.
	Sources    map[string]Source
	Feeds      map[string]Feed
	Transforms map[string]Transform
	Outputs    map[string]Output
	// Schedules tell by name when the loop would poll the sources.
	Schedules map[string]Schedule
	Metrics   *Registry

	el      *elements
	closers []func() error
}

// OpenOptions is the surroundings that a plugin is opened in. The zero value is the machine itself, without a log and
// without a ledger.
type OpenOptions struct {
	// Sys and Proc are the roots of sysfs and procfs; empty: /sys and /proc.
	Sys, Proc string
	Log       *slog.Logger
	Meter     Metering
	Edge      func()
	// Metrics is the registry to share with other plugins; nil: a new one.
	Metrics *Registry
}

// Open opens a plugin with a configuration, which is a pointer as p.Defaults returns it; nil: the defaults. If it fails,
// what the plugin has opened is closed again.
func Open(p Plugin, config any, o OpenOptions) (*Opened, error) {
	if config == nil {
		config = p.Defaults()
	}
	s := &Setup{Sys: o.Sys, Proc: o.Proc, Log: o.Log, Meter: o.Meter, Edge: o.Edge, plugin: p.Name, reg: o.Metrics, el: &elements{}}
	if s.Sys == "" {
		s.Sys = "/sys"
	}
	if s.Proc == "" {
		s.Proc = "/proc"
	}
	if s.Log == nil {
		s.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if s.Meter == nil {
		s.Meter = deaf{}
	}
	if s.Edge == nil {
		s.Edge = func() {}
	}
	if s.reg == nil {
		s.reg = NewRegistry()
	}
	err := p.open(s, config)
	opened := collect(s)
	if err == nil {
		err = s.err
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open plugin %s: %w", p.Name, err), opened.Close())
	}
	return opened, nil
}

func collect(s *Setup) *Opened {
	o := &Opened{
		Sources: map[string]Source{}, Feeds: map[string]Feed{}, Transforms: map[string]Transform{}, Outputs: map[string]Output{},
		Schedules: map[string]Schedule{}, Metrics: s.reg, el: s.el, closers: s.el.closers,
	}
	for _, e := range s.el.sources {
		o.Sources[e.name], o.Schedules[e.name] = e.src, e.Schedule
	}
	for _, e := range s.el.feeds {
		o.Feeds[e.name] = e.feed
	}
	for _, e := range s.el.transforms {
		o.Transforms[e.name] = e.transform
	}
	for _, e := range s.el.outputs {
		o.Outputs[e.name] = e.out
	}
	return o
}

// Close calls the plugin's closing functions, the last added first. A second call does nothing.
func (o *Opened) Close() error {
	var errs []error
	for i := len(o.closers) - 1; i >= 0; i-- {
		errs = append(errs, o.closers[i]())
	}
	o.closers = nil
	return errors.Join(errs...)
}

// deaf is the meter of a plugin that is opened without a ledger.
type deaf struct{}

func (deaf) Sensor(*Sensor) error           { return nil }
func (deaf) Reading(*Sensor, int64, uint64) {}
func (deaf) Power(*Sensor, int64, uint64)   {}
