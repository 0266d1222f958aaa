package bench

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"time"

	"crayon/internal/build"
	"crayon/internal/fault"
	"crayon/internal/store"
)

// Report is a run's figures and all that is needed to read and repeat them.
type Report struct {
	Figures
	Settings    Settings           `json:"settings"`
	Swaps       map[string]string  `json:"swaps,omitempty"`   // user -> whose blend `swapped` used
	Timing      map[string]*Timing `json:"timing,omitempty"`  // by strategy
	Digests     map[string]string  `json:"digests"`           // sha256: model, pool (the caller's), data, raw
	Raw         string             `json:"raw,omitempty"`     // the file of the sheets, from the report's folder
	Inputs      []Input            `json:"inputs,omitempty"`  // of a merged or joined report
	Samples     []Sample           `json:"samples,omitempty"` // rows won and lost
	Chats       []ChatSample       `json:"chats,omitempty"`
	Environment Environment        `json:"environment"`
	Notes       []string           `json:"notes"`
}

// Settings is what a run was asked to do.
type Settings struct {
	Seed       uint64   `json:"seed"`
	Shots      []int    `json:"shots"` // examples a user customises from
	Draws      int      `json:"draws"` // of the examples
	Rows       int      `json:"rows"`  // most scored rows a user
	Users      int      `json:"users"` // most users, 0 = all
	Datasets   []string `json:"datasets"`
	Groups     []string `json:"groups,omitempty"`
	Strategies []string `json:"strategies"`
	Budget     float64  `json:"budget_seconds"` // that a user's `chosen` may take
	Resamples  int      `json:"resamples"`
}

// Timing is what a strategy took. What strategies share is charged to each as
// if it had run alone.
type Timing struct {
	Fits         int     `json:"fits"` // customisations
	FitSeconds   float64 `json:"fit_seconds"`
	FitTokens    float64 `json:"fit_tokens"`
	SlowestFit   float64 `json:"slowest_fit_seconds"`
	Queries      int     `json:"queries"`
	QuerySeconds float64 `json:"query_seconds"`
	QueryTokens  float64 `json:"query_tokens"` // through the model: prompts and choices
	// Of one query and one customisation.
	Milliseconds float64 `json:"milliseconds"`
	Tokens       float64 `json:"tokens"`
	Customise    float64 `json:"customise_seconds"`
}

func (t *Timing) add(o *Timing) {
	t.Fits, t.FitSeconds, t.FitTokens = t.Fits+o.Fits, t.FitSeconds+o.FitSeconds, t.FitTokens+o.FitTokens
	t.SlowestFit = max(t.SlowestFit, o.SlowestFit)
	t.Queries, t.QuerySeconds, t.QueryTokens = t.Queries+o.Queries, t.QuerySeconds+o.QuerySeconds, t.QueryTokens+o.QueryTokens
}

func (t *Timing) settle() {
	q, f := float64(max(1, t.Queries)), float64(max(1, t.Fits))
	t.Milliseconds, t.Tokens, t.Customise = round(1000*t.QuerySeconds/q, 3), round(t.QueryTokens/q, 1), round(t.FitSeconds/f, 4)
	t.FitSeconds, t.QuerySeconds = round(t.FitSeconds, 3), round(t.QuerySeconds, 3)
	t.FitTokens, t.QueryTokens = math.Round(t.FitTokens), math.Round(t.QueryTokens)
}

// Input is a report that a merged one is made from.
type Input struct {
	File     string            `json:"file"`
	Digests  map[string]string `json:"digests"`
	Datasets []string          `json:"datasets,omitempty"` // taken from it
	// Strategies are those that a joined report has of it.
	Strategies []string `json:"strategies,omitempty"`
	// Of are the inputs of one that was joined itself.
	Of []Input `json:"of,omitempty"`
}

// Environment is where and with what a run was made.
type Environment struct {
	Commit  string `json:"commit"`
	Date    string `json:"date"` // UTC, RFC 3339
	Machine string `json:"machine"`
	Device  string `json:"device,omitempty"` // the accelerator, if one scored
	Go      string `json:"go"`
}

func (r *runner) report(sheets []Sheet, notes []string) *Report {
	rep := &Report{
		Figures:  *Summarise(sheets, r.opt.Seed, r.opt.Resamples),
		Settings: r.settings(),
		Swaps:    r.swaps, Timing: r.timing, Digests: map[string]string{"data": r.dataDigest()},
		Samples: r.samples, Chats: r.elsewhere.samples,
		Environment: environment(r.opt.Device), Notes: append([]string{}, notes...),
	}
	for _, t := range rep.Timing {
		t.settle()
	}
	maps.Copy(rep.Digests, r.opt.Digests)
	return rep
}

func (r *runner) settings() Settings {
	s := Settings{Seed: r.opt.Seed, Shots: r.opt.Shots, Draws: r.opt.Draws, Rows: r.opt.Rows, Users: r.opt.Users,
		Datasets: append([]string{}, r.opt.Datasets...), Groups: r.opt.Groups, Budget: r.opt.Budget.Seconds(), Resamples: r.opt.Resamples}
	for _, m := range r.run {
		s.Strategies = append(s.Strategies, m.name)
	}
	return s
}

func environment(device string) Environment {
	env := Environment{Device: device, Date: time.Now().UTC().Format(time.RFC3339), Go: runtime.Version(), Commit: build.Read().Commit,
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

// Verify recomputes the figures of a report from its sheets and says whether
// they are the same.
func (r *Report) Verify(sheets []Sheet) error {
	fail := func(err error) error {
		return &fault.Error{Op: "verify benchmark report", Err: err, Exit: fault.ExitVerify,
			Hint: "run the benchmark again and commit report and raw rows together"}
	}
	if err := checkSheets(sheets); err != nil {
		return fail(err)
	}
	want, err := generic(Summarise(sheets, r.Settings.Seed, r.Settings.Resamples))
	if err != nil {
		return fail(err)
	}
	got, err := generic(&r.Figures)
	if err != nil {
		return fail(err)
	}
	if at := differs("", want, got); at != "" {
		return fail(fmt.Errorf("the figures do not follow from the raw rows: %s", at))
	}
	return nil
}

// generic is a value as JSON has it.
func generic(v any) (any, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out any
	err = json.Unmarshal(data, &out)
	return out, err
}

// later is a key that the reports of before it lack; what they lack cannot be
// wrong.
const later = "stderr"

// differs names the first place where two JSON values differ; "" if none does.
func differs(at string, a, b any) string {
	x, ok := a.(map[string]any)
	y, same := b.(map[string]any)
	if !ok || !same {
		if reflect.DeepEqual(a, b) {
			return ""
		}
		return fmt.Sprintf("%s should be %v, is %v", strings.TrimPrefix(at, "."), a, b)
	}
	for _, key := range sorted(x) {
		if _, ok := y[key]; !ok && key == later {
			continue
		} else if !ok {
			return strings.TrimPrefix(at+"."+key, ".") + " is missing"
		}
		if d := differs(at+"."+key, x[key], y[key]); d != "" {
			return d
		}
	}
	for _, key := range sorted(y) {
		if _, ok := x[key]; !ok {
			return strings.TrimPrefix(at+"."+key, ".") + " should not be there"
		}
	}
	return ""
}

// most is how large a report or a raw file may be, in bytes.
const most = 256 << 20

// ReadVerified is ReadReport of a report whose figures follow from its rows.
func ReadVerified(path string) (*Report, []Sheet, error) {
	r, sheets, err := ReadReport(path)
	if err != nil {
		return nil, nil, err
	}
	return r, sheets, r.Verify(sheets)
}

// ReadReport reads a report, and the sheets of the raw file that it names, whose
// digest it checks.
func ReadReport(path string) (*Report, []Sheet, error) {
	fail := func(path string, err error) (*Report, []Sheet, error) {
		return nil, nil, &fault.Error{Op: "read benchmark report", Path: path, Err: err, Exit: fault.ExitVerify,
			Hint: "run the benchmark again with --out and --raw"}
	}
	data, err := store.ReadFile(path, most)
	if err != nil {
		return nil, nil, err
	}
	r := &Report{}
	if err := json.Unmarshal(data, r); err != nil {
		return fail(path, err)
	}
	if r.Raw == "" {
		return fail(path, errors.New("it names no raw file"))
	}
	raw := filepath.Join(filepath.Dir(path), filepath.FromSlash(r.Raw))
	if data, err = store.ReadFile(raw, most); err != nil {
		return nil, nil, err
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != r.Digests["raw"] {
		return fail(raw, fmt.Errorf("its sha256 is %x, not what %s says", sum, filepath.Base(path)))
	}
	sheets, err := ReadRaw(raw, bytes.NewReader(data))
	return r, sheets, err
}

// Keep writes the sheets to path and says in the report where they are, seen
// from the report's own file, and what they are; out "" is a report that is not
// written.
func (r *Report) Keep(path, out string, sheets []Sheet) error {
	var raw bytes.Buffer
	if err := WriteRaw(&raw, sheets); err != nil {
		return err
	}
	if err := store.WriteBytes(path, raw.Bytes()); err != nil {
		return err
	}
	sum := sha256.Sum256(raw.Bytes())
	r.Digests["raw"] = hex.EncodeToString(sum[:])
	name := path
	if out != "" {
		rel, err := filepath.Rel(filepath.Dir(out), path)
		if err == nil {
			name = rel
		}
	}
	r.Raw = filepath.ToSlash(name)
	return nil
}
