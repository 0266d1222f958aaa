package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"runtime"
	"strings"
	"time"

	"crayon/internal/build"
	"crayon/internal/fault"
)

// Report is a run's figures and all that is needed to read and repeat them.
type Report struct {
	Figures
	Settings    Settings           `json:"settings"`
	Swaps       map[string]string  `json:"swaps,omitempty"` // user -> whose customisation `swapped` used
	Timing      map[string]*Timing `json:"timing"`          // by strategy, and `customise`
	Digests     map[string]string  `json:"digests"`         // sha256: model, pool (the caller's), data
	Environment Environment        `json:"environment"`
	Notes       []string           `json:"notes"`
}

// Settings is what a run was asked to do.
type Settings struct {
	Seed       uint64   `json:"seed"`
	Shots      int      `json:"shots"` // examples a user customises from
	Rows       int      `json:"rows"`  // most scored rows a user
	Users      int      `json:"users"` // most users, 0 = all
	Datasets   []string `json:"datasets"`
	Strategies []string `json:"strategies"`
	Resamples  int      `json:"resamples"`
}

// Timing is how long a strategy took.
type Timing struct {
	Count        int     `json:"count"` // rows; for customise, users
	Seconds      float64 `json:"seconds"`
	Milliseconds float64 `json:"milliseconds"` // each
}

// Environment is where and with what a run was made.
type Environment struct {
	Commit  string `json:"commit"`
	Date    string `json:"date"` // UTC, RFC 3339
	Machine string `json:"machine"`
	Go      string `json:"go"`
}

func (r *runner) report(records []Record, notes []string) *Report {
	rep := &Report{
		Figures: *Summarise(records, r.opt.Seed, r.opt.Resamples),
		Settings: Settings{Seed: r.opt.Seed, Shots: r.opt.Shots, Rows: r.opt.Rows, Users: r.opt.Users,
			Datasets: append([]string{}, r.opt.Datasets...), Resamples: r.opt.Resamples},
		Swaps: r.swaps, Timing: r.timing, Digests: map[string]string{"data": r.dataDigest()},
		Environment: environment(), Notes: append([]string{}, notes...),
	}
	for _, s := range r.run {
		rep.Settings.Strategies = append(rep.Settings.Strategies, s.name)
	}
	maps.Copy(rep.Digests, r.opt.Digests)
	return rep
}

func environment() Environment {
	env := Environment{Date: time.Now().UTC().Format(time.RFC3339), Go: runtime.Version(), Commit: build.Read().Commit,
		Machine: fmt.Sprintf("%s/%s, %d threads", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())}
	if name := processor(); name != "" {
		env.Machine += ", " + name
	}
	return env
}

// processor is the CPU's name where Linux tells it, else "".
func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if key, value, ok := strings.Cut(sc.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Verify recomputes the figures of a report from its records and says
// whether they are the same.
func (r *Report) Verify(records []Record) error {
	fail := func(err error) error {
		return &fault.Error{Op: "verify benchmark report", Err: err, Exit: fault.ExitVerify,
			Hint: "run the benchmark again and commit report and raw rows together"}
	}
	if len(records) == 0 {
		return fail(fmt.Errorf("no row"))
	}
	want, err := json.Marshal(Summarise(records, r.Settings.Seed, r.Settings.Resamples))
	if err != nil {
		return fail(err)
	}
	got, err := json.Marshal(&r.Figures)
	if err != nil {
		return fail(err)
	}
	if !bytes.Equal(want, got) {
		return fail(fmt.Errorf("the figures do not follow from the raw rows"))
	}
	return nil
}
