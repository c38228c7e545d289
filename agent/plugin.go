// Package agent is the measurement pipeline: sources are polled on one clock grid, their points pass the transforms in
// configured order and reach every output. It knows nothing of jobs: the ledger hears the sensors through [Meter].
//
// A plugin is declared by [Define] and opened with a [Setup], to which it adds its metrics, sensors and elements. [New]
// opens the enabled plugins and [Agent.Run] runs the loop. Nothing is global: several agents can run in one process.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Errors with a meaning. Any other error of a source is retried with back-off, counted, and logged when the state changes.
var (
	// ErrNotSupported says that the hardware, kernel interface or permission is not here: the plugin is off, said once.
	ErrNotSupported = errors.New("not supported on this node")
	// ErrGone says that the measured thing has ended for good: the source is removed.
	ErrGone = errors.New("the measured thing is gone")
)

// Source is polled by the loop. Poll appends points to b, stamps them with now.Wall and tells the meter its raw readings
// at now.Boot. It is never called concurrently with itself or with Edge, and allocates nothing in steady state.
type Source interface {
	Poll(b *Batch, now Instant) error
}

// Edger is implemented by sources that can be read between ticks, when a job begins or ends. Edge tells the meter and the
// ledger what Poll would, but makes no points, so that the series of points stay on the grid.
type Edger interface {
	Edge(now Instant) error
}

// Feed pushes batches by itself until ctx ends. emit copies what it needs of the batch.
type Feed interface {
	Run(ctx context.Context, emit func(*Batch) error) error
}

// Transform edits a batch in place. It allocates nothing in steady state.
type Transform interface {
	Apply(b *Batch) error
}

// Output writes batches away. It must not keep b. An error means that the batch is to be written again.
type Output interface {
	Write(ctx context.Context, b *Batch) error
}

// Phase orders the sources within one tick: energy is read first, usage right after, and the books are settled last.
type Phase uint8

// The phases of a tick.
const (
	PhaseEnergy Phase = iota
	PhaseUsage
	PhaseSettle
)

// Schedule says when a source is polled.
type Schedule struct {
	// Period is the time between two polls; it must be positive.
	Period time.Duration
	// Flush is how long points may be kept before they are passed on; 0: at every poll.
	Flush time.Duration
	Phase Phase
	// Lane names a goroutine of its own for a slow reader; empty: the main lane.
	Lane string
}

// Plugin is the declaration of a plugin, made by [Define].
type Plugin struct {
	Name string
	// Doc is one sentence: what the plugin does.
	Doc string
	// Defaults returns a pointer to a new configuration value with all defaults, for decoding and printing.
	Defaults func() any
	open     func(*Setup, any) error
}

// Define declares a plugin. C is its configuration, a struct with `toml` and `comment` tags; defaults returns a fresh value;
// open adds the plugin's elements to the setup. An error of open that wraps [ErrNotSupported] turns the plugin off.
func Define[C any](name, doc string, defaults func() C, open func(*Setup, C) error) Plugin {
	return Plugin{
		Name: name, Doc: doc,
		Defaults: func() any { c := defaults(); return &c },
		open:     func(s *Setup, c any) error { return open(s, *c.(*C)) },
	}
}

// Validator is implemented by configurations with rules that their types cannot express.
type Validator interface {
	Validate() error
}

// Setup is what a plugin is opened with. It belongs to one plugin and is valid until open returns, except for Log, Edge
// and the values that it handed out.
type Setup struct {
	// Sys and Proc are the roots of sysfs and procfs, usually /sys and /proc.
	Sys, Proc string
	Log       *slog.Logger
	// Meter hears raw sensor readings; it is never nil.
	Meter Metering
	// Edge asks the loop for a reading of all sensors and groups at once. It may be called from any goroutine and returns
	// immediately; requests that come close together are served by one reading.
	Edge func()

	plugin string
	reg    *Registry
	el     *elements
	err    error
}

// Metric registers a metric and returns its shared definition. A clash with another plugin's metric fails the start.
func (s *Setup) Metric(m Metric) *Metric {
	p, err := s.reg.Add(m)
	if err != nil {
		s.fail(err)
		return &m
	}
	return p
}

// Metrics gives access to all metrics of the agent, for outputs that need them before the first batch.
func (s *Setup) Metrics() *Registry { return s.reg }

// Source adds a polled source. name is unique among the plugin's sources.
func (s *Setup) Source(name string, when Schedule, src Source) {
	if when.Period <= 0 {
		s.fail(fmt.Errorf("source %s: poll_interval must be greater than zero", name))
		return
	}
	for _, o := range s.el.sources {
		if o.plugin == s.plugin && o.name == name {
			s.fail(fmt.Errorf("source %s is declared twice", name))
			return
		}
	}
	s.el.sources = append(s.el.sources, &sourceElement{element: element{plugin: s.plugin, name: name}, Schedule: when, src: src})
}

// Feed adds a source that pushes by itself.
func (s *Setup) Feed(name string, f Feed) {
	s.el.feeds = append(s.el.feeds, &feedElement{element: element{plugin: s.plugin, name: name}, feed: f})
}

// Transform adds a transform; transforms run in the order of the plugins in the configuration.
func (s *Setup) Transform(name string, t Transform) {
	s.el.transforms = append(s.el.transforms, &transformElement{element: element{plugin: s.plugin, name: name}, transform: t})
}

// Output adds an output.
func (s *Setup) Output(name string, o Output) {
	s.el.outputs = append(s.el.outputs, &outputElement{element: element{plugin: s.plugin, name: name}, out: o})
}

// OnClose adds a function that is called when the agent stops, after the last batch was written; the last added is
// called first.
func (s *Setup) OnClose(f func() error) { s.el.closers = append(s.el.closers, f) }

func (s *Setup) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}
