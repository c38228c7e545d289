package jobenergy

import (
	"fmt"
	"math"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent/config"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// Config is the plugin's section of the configuration.
type Config struct {
	Interval config.Duration    `toml:"poll_interval" comment:"Time between two settlements of the books; keep it equal to the sensors' poll_interval."`
	Flush    config.Duration    `toml:"flush_interval" comment:"How long job_energy points may be kept before they are passed on."`
	Commit   config.Duration    `toml:"commit_interval" comment:"Time between two commits to the store while jobs run; the end of a job is committed at once."`
	Store    string             `toml:"store" comment:"The SQLite file that keeps the energy of every job of this node."`
	Cluster  string             `toml:"cluster" comment:"Name of the cluster that this node belongs to, for reports; may be empty."`
	Policy   jobs.Policy        `toml:"policy" comment:"How energy is divided: hybrid, usage, capacity or allocated."`
	Learn    bool               `toml:"learn_floor" comment:"Learn each sensor's idle floor: the lowest average power seen in 10 s without a job. Used by policy hybrid."`
	Floors   map[string]float64 `toml:"floors" comment:"Idle floors in watts by sensor, such as \"rapl:package:0\" = 31.5; they are not learned then."`
}

// DefaultStore is where the store is when nothing else is said.
const DefaultStore = "/var/lib/alumet-hpc/jobs.db"

func defaults() Config {
	return Config{
		Interval: config.Duration(time.Second), Flush: config.Duration(time.Second), Commit: config.Duration(5 * time.Second),
		Store: DefaultStore, Policy: jobs.PolicyHybrid, Learn: true, Floors: map[string]float64{},
	}
}

// Validate checks what the types cannot.
func (c *Config) Validate() error {
	if c.Store == "" {
		return fmt.Errorf("store is empty: name the file that keeps the jobs' energy")
	}
	if err := c.Interval.AtLeast("poll_interval", config.ShortestPoll); err != nil {
		return err
	}
	if err := c.Commit.AtLeast("commit_interval", config.Duration(100*time.Millisecond)); err != nil {
		return err
	}
	for name, w := range c.Floors {
		if !(w >= 0 && w < 1e6) {
			return fmt.Errorf("floors: %s = %v is no power in watts", name, w)
		}
	}
	return nil
}

// microwatts rounds a power in watts to µW.
func microwatts(w float64) uint64 { return uint64(math.Round(w * 1e6)) }
