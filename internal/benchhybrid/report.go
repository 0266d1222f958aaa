package benchhybrid

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"crayon/internal/bench"
	"crayon/internal/fault"
	"crayon/internal/store"
)

// Kind is what a report says it is of.
const Kind = "hybrid"

// Report is the figures and all that is needed to read and repeat them.
type Report struct {
	Benchmark string `json:"benchmark"` // Kind
	Figures
	Run         map[string]any    `json:"run"`           // what the device was asked
	Model       string            `json:"server_model"`  // as the server names it
	Digests     map[string]string `json:"digests"`       // sha256: model, pools, raw
	Raw         string            `json:"raw,omitempty"` // the file of the rows, from the report's folder
	Environment bench.Environment `json:"environment"`
	Notes       []string          `json:"notes"`
}

// Keep writes the rows to path and says in the report where they are, seen from
// the report's own file, and what they are; out "" is a report that is not
// written.
func (r *Report) Keep(path, out string, rows []Row) error {
	var raw bytes.Buffer
	if err := WriteRows(&raw, rows); err != nil {
		return err
	}
	if err := store.WriteBytes(path, raw.Bytes()); err != nil {
		return err
	}
	sum := sha256.Sum256(raw.Bytes())
	r.Digests["raw"], r.Raw = hex.EncodeToString(sum[:]), path
	if out != "" {
		if rel, err := filepath.Rel(filepath.Dir(out), path); err == nil {
			r.Raw = rel
		}
	}
	r.Raw = filepath.ToSlash(r.Raw)
	return nil
}

// mostReport is how large a report or raw file may be, in bytes.
const mostReport = 256 << 20

// IsReport says whether a file is a report of this benchmark.
func IsReport(path string) bool {
	data, err := store.ReadFile(path, mostReport)
	if err != nil {
		return false
	}
	var head struct {
		Benchmark string `json:"benchmark"`
	}
	return json.Unmarshal(data, &head) == nil && head.Benchmark == Kind
}

// ReadReport reads a report and the rows it names, whose digest it checks.
func ReadReport(path string) (*Report, []Row, error) {
	fail := func(path string, err error) (*Report, []Row, error) {
		return nil, nil, &fault.Error{Op: "read benchmark report", Path: path, Err: err, Exit: fault.ExitVerify, Hint: "run the benchmark again with --out and --raw"}
	}
	data, err := store.ReadFile(path, mostReport)
	if err != nil {
		return nil, nil, err
	}
	r := &Report{}
	if err := json.Unmarshal(data, r); err != nil {
		return fail(path, err)
	}
	if r.Benchmark != Kind || r.Raw == "" {
		return fail(path, errors.New("it is no report of bench hybrid, or names no raw file"))
	}
	raw := filepath.Join(filepath.Dir(path), filepath.FromSlash(r.Raw))
	if data, err = store.ReadFile(raw, mostReport); err != nil {
		return nil, nil, err
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != r.Digests["raw"] {
		return fail(raw, fmt.Errorf("its sha256 is %x, not what %s says", sum, filepath.Base(path)))
	}
	rows, err := ReadRows(raw, bytes.NewReader(data))
	return r, rows, err
}

// Verify judges the rows again and says whether the figures are the same.
func (r *Report) Verify(ctx context.Context, rows []Row) error {
	fail := func(err error) error {
		return &fault.Error{Op: "verify benchmark report", Err: err, Exit: fault.ExitVerify, Hint: "judge the rows again: crayon bench hybrid --from RAW"}
	}
	want, err := Judge(ctx, rows, r.Settings)
	if err != nil {
		return err
	}
	at, err := bench.Differs(want, &r.Figures)
	if err == nil && at != "" {
		err = fmt.Errorf("the figures do not follow from the raw rows: %s", at)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// tables are the report's, in order.
func (r *Report) tables() []table {
	targets, curve, sections := r.targetTable(), r.routerTable(), r.sectionTable()
	parts := table{Title: "parts of the streams under crayon's route", Head: []string{"part", "rows", "device", "server", "sent at 0.3", "accuracy", "sent at 0.5", "accuracy"}}
	for _, name := range slices.Sorted(maps.Keys(r.Parts)) {
		h := r.Parts[name]
		parts.Rows = append(parts.Rows, []string{name, fmt.Sprint(h.Rows), three(h.Device), three(h.Server), three(h.Sent["0.3"]), three(h.Accuracy["0.3"]), three(h.Sent["0.5"]), three(h.Accuracy["0.5"])})
	}
	sides, models, servers, sets := r.sideTable(), r.modelTable(), r.formTable(), r.setTable()
	promised := table{Title: "promises on unseen rows", Head: []string{"promise", "target", "came, 95 % of resamples", "kept within", "share kept", "calibrated on", "unseen", "refused"}}
	for _, p := range r.Promises {
		promised.Rows = append(promised.Rows, []string{string(p.What), fmt.Sprintf("%.2f", p.Target), fmt.Sprintf("%.3f [%.3f, %.3f]", p.Mean, p.Low, p.High), fmt.Sprint(p.Margin), three(p.Kept),
			fmt.Sprint(p.Calibrated), fmt.Sprint(p.Unseen), fmt.Sprintf("%d of %d", p.Refused, p.Splits)})
	}
	took := table{Title: "a query", Head: []string{"share sent", "seconds", "decided before a draft", "cost"}}
	if r.Latency != nil {
		for _, s := range slices.Sorted(maps.Keys(r.Latency.Seconds)) {
			took.Rows = append(took.Rows, []string{s, three(r.Latency.Seconds[s]), three(r.Latency.Undrafted[s]), fmt.Sprintf("%.6f", r.Latency.Cost[s])})
		}
	}
	return []table{targets, curve, sections, parts, sides, models, servers, promised, took, sets}
}

func three(x float64) string { return fmt.Sprintf("%.3f", x) }

func number(x *float64) string {
	if x == nil {
		return "-"
	}
	return three(*x)
}

func interval(f *Figure) string {
	if f == nil {
		return "-"
	}
	return fmt.Sprintf("%+.4f [%+.4f, %+.4f]", f.Value, f.Low, f.High)
}

func (r *Report) lead() string {
	return fmt.Sprintf("%d queries of %d users, %.0f %% of them of other families; the customised device has %.3f right, the server (%s, asked as %s) %.3f, one of both %.3f.",
		r.Rows, r.Users, 100*r.Strange, r.Device, r.Model, r.Asked, r.Server, r.Either)
}

// WriteText writes the report as tables.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	b.WriteString(r.lead() + "\n")
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, t := range r.tables() {
		if len(t.Rows) == 0 {
			continue
		}
		fmt.Fprintf(tw, "\n%s\n", t.Title)
		for _, row := range append([][]string{t.Head}, t.Rows...) {
			fmt.Fprintln(tw, strings.Join(row, "\t"))
		}
	}
	tw.Flush()
	for _, n := range append(slices.Clone(r.Notes), r.Missing...) {
		fmt.Fprintf(&b, "\nnote: %s", n)
	}
	b.WriteString("\n")
	if _, err := io.WriteString(w, b.String()); err != nil {
		return &fault.Error{Op: "write report", Err: err}
	}
	return nil
}
