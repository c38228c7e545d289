package report

import (
	"strings"
	"testing"

	"github.com/alumet-hpc/alumet-hpc/jobs/store"
)

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]Target{
		"10707":             {Query: store.Query{Name: "10707"}},
		"10707.2":           {Query: store.Query{Name: "10707"}, Step: "2"},
		"10707.batch":       {Query: store.Query{Name: "10707"}, Step: "batch"},
		"10707.0+1":         {Query: store.Query{Name: "10707"}, Step: "0+1"},
		"10707_4":           {Query: store.Query{Name: "10707", ArrayTask: "4"}},
		"10707_4.0":         {Query: store.Query{Name: "10707", ArrayTask: "4"}, Step: "0"},
		"10707+1":           {Query: store.Query{Name: "10707", HetOffset: "1"}},
		"10707+1.extern":    {Query: store.Query{Name: "10707", HetOffset: "1"}, Step: "extern"},
		"slurm/10707.2":     {Query: store.Query{Scheduler: "slurm", Name: "10707"}, Step: "2"},
		"slurm/10707_4.2":   {Query: store.Query{Scheduler: "slurm", Name: "10707", ArrayTask: "4"}, Step: "2"},
		"oar/123":           {Query: store.Query{Scheduler: "oar", Name: "123"}},
		"exec/4242":         {Query: store.Query{Scheduler: "exec", Name: "4242"}},
		"k8s/pod_a-7":       {Query: store.Query{Scheduler: "k8s", Name: "pod_a-7"}},
		"sEKNKTV3WPV500":    {Query: store.Query{Name: "sEKNKTV3WPV500"}},
		"sEKNKTV3WPV500.0":  {Query: store.Query{Name: "sEKNKTV3WPV500"}, Step: "0"},
		"slurm/10707.batch": {Query: store.Query{Scheduler: "slurm", Name: "10707"}, Step: "batch"},
	} {
		if got, err := ParseTarget(text); err != nil || got != want {
			t.Errorf("ParseTarget(%q) = %+v, %v, want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":             "want a job's number",
		"10707,2":      "want a job's number",
		"10707 ":       "want a job's number",
		"12a":          "want a job's number",
		"10707.":       "want a step",
		"10707.2.3":    "want a step",
		"10707_":       "index of an array's task",
		"10707_x":      "index of an array's task",
		"10707_[1-4]":  "one task at a time",
		"10707+":       "number of a component",
		"10707+1_2":    "not both",
		"/10707":       "want a scheduler",
		"slurm/":       "want a job's number",
		"oar/":         "want a job's name after oar/",
		"a/b/c":        "want a job's name after a/",
		"-5":           "want a job's number",
		"\x1b[2J10707": `job "?[2J10707"`,
	} {
		if got, err := ParseTarget(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseTarget(%q) = %+v, %v, want %q", text, got, err, want)
		}
	}
}

// FuzzParseTarget checks that what is read can be written and read again, and that nothing else than names comes out.
func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"10707", "slurm/10707_4.batch", "10707+1.0", "oar/123", "sEKNKTV3WPV500", "", "/", "._+[]", "a/b.c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseTarget(s)
		if err != nil {
			if got != (Target{}) || strings.ContainsAny(err.Error(), "\x1b\n") {
				t.Fatalf("%+v, %q", got, err)
			}
			return
		}
		if got.Name == "" || got.ArrayTask != "" && got.HetOffset != "" || strings.ContainsAny(got.Name+got.Step+got.Scheduler, "/ \n'\"") {
			t.Fatalf("ParseTarget(%q) = %+v", s, got)
		}
		text := got.Name
		if got.Scheduler != "" {
			text = got.Scheduler + "/" + text
		}
		for _, part := range []struct{ separator, value string }{{"_", got.ArrayTask}, {"+", got.HetOffset}, {".", got.Step}} {
			if part.value != "" {
				text += part.separator + part.value
			}
		}
		if text != s {
			t.Fatalf("ParseTarget(%q) is %q", s, text)
		}
	})
}
