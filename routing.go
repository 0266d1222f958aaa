package crayon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"time"

	"crayon/internal/chat"
	"crayon/internal/examples"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/hybrid"
	"crayon/internal/route"
	"crayon/internal/route/calibrate"
	"crayon/internal/route/record"
	"crayon/internal/store"
	"crayon/internal/upstream"
)

// Calibration is what routing learned from a user's rows: how probably each side
// is right, and from which gain on a query leaves.
type Calibration = calibrate.Calibration

// What a calibration promises.
const (
	PromiseShare   = calibrate.Share
	PromiseQuality = calibrate.Quality
	PromiseCost    = calibrate.Cost
)

// CalibrateOptions of Calibrate.
type CalibrateOptions struct {
	calibrate.Ask
	AskServer bool   // ask the server where a row does not say what it answers
	Data      string // file that the rows are from, for its digest; "": none
	Answers   string // file to write the rows to with what the server answered, to be calibrated on again; "": none
}

// ReadCalibrationRows reads rows in the form of an example file, with what the
// server answers in a further column server, if that is known.
func ReadCalibrationRows(path string, labels ...string) (*Examples, error) {
	return examples.Read(path, examples.Options{Labels: labels, Server: true})
}

// mostMeasured is the longest answer, in tokens, that rows are judged by.
const mostMeasured = 128

// Calibrate answers rows as they would be answered, learns from who was right,
// and stores the calibration beside the customisation in the place of the one
// there was. Rows without an answer are left out. progress may be nil.
func (c *Crayon) Calibrate(ctx context.Context, custom *Customisation, rows *Examples, o CalibrateOptions, progress func(done, total int)) (*Calibration, error) {
	if custom == nil {
		return nil, &fault.Error{Op: "calibrate", Err: errors.New("the bare base model has no examples to measure scope by"), Hint: "crayon customize mine -f mine.csv", Exit: fault.ExitUsage}
	}
	var labelled []examples.Example
	for _, e := range rows.Examples {
		if e.Labelled {
			labelled = append(labelled, e)
		}
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	if o.Prior == nil {
		shipped, err := calibrate.Default(custom.Pool, c.device.Lineage)
		if err != nil {
			return nil, err
		}
		o.Prior = shipped
	}
	if err := o.Refuse(len(labelled)); err != nil { // before the rows are answered, which takes long
		return nil, err
	}
	if !o.AskServer && !(o.Server > 0) && !slices.ContainsFunc(labelled, func(e examples.Example) bool { return e.Server != "" }) {
		return nil, calibrate.ErrNoServer
	}
	scope := float64(custom.Scope.User)
	if set := float64(c.hybrid.Policy.ScopeUser); !math.IsNaN(set) {
		scope = set
	}
	if o.Scope == nil && scope > -1 {
		o.Scope = &scope
	}
	digests, err := c.digests(custom, o.Data)
	if err != nil {
		return nil, err
	}
	var measured []calibrate.Row
	for i := range labelled {
		e := &labelled[i]
		row, err := c.measure(ctx, custom, e, o.AskServer)
		if err != nil {
			return nil, &fault.Error{Op: "calibrate", Path: fmt.Sprintf("%s:%d", rows.Source, e.Line), Err: err, Hint: fault.Hint(err)}
		}
		measured = append(measured, row)
		if progress != nil {
			progress(i+1, len(labelled))
		}
	}
	if o.Answers != "" {
		if err := writeAnswers(o.Answers, labelled); err != nil {
			return nil, err
		}
	}
	cal, err := calibrate.Make(measured, o.Ask)
	if err != nil {
		return nil, err
	}
	cal.Digests = digests
	return cal, c.records().PutCalibration(custom.Name, cal)
}

// writeAnswers writes rows as ReadCalibrationRows reads them.
func writeAnswers(path string, rows []examples.Example) error {
	return store.WriteFile(path, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		for _, e := range rows {
			line := struct {
				Question string   `json:"question"`
				Answer   string   `json:"answer"`
				Context  string   `json:"context,omitempty"`
				Choices  []string `json:"choices,omitempty"`
				Server   string   `json:"server,omitempty"`
			}{e.Question, e.Answer, e.Context, e.Choices, e.Server}
			if err := enc.Encode(line); err != nil {
				return fmt.Errorf("write answers: %w", err)
			}
		}
		return nil
	})
}

func (c *Crayon) digests(custom *Customisation, data string) (calibrate.Digests, error) {
	d := calibrate.Digests{Base: c.hybrid.Base}
	var err error
	if d.Adapter, err = custom.Digest(); err != nil || data == "" {
		return d, err
	}
	if d.Path, err = filepath.Abs(data); err != nil {
		return d, err
	}
	d.Data, err = gguf.Digest(data)
	return d, err
}

// measure answers one row, and fills in what the server says if it is asked.
func (c *Crayon) measure(ctx context.Context, custom *Customisation, e *examples.Example, ask bool) (calibrate.Row, error) {
	q := hybrid.Query{Messages: []chat.Message{{Role: "user", Content: e.Question}}, Custom: custom, Context: e.Context, MaxTokens: mostMeasured, Key: localKey}
	choices := custom.Labels
	if len(choices) == 0 {
		choices, q.Choices = e.Choices, e.Choices
	}
	text, d, err := c.hybrid.Measure(ctx, q)
	if err != nil {
		return calibrate.Row{}, err
	}
	row := d.Signals.Row()
	row.Device = right(text, e.Answer, choices)
	if e.Server == "" && ask {
		var private *upstream.Private
		switch e.Server, err = c.hybrid.AskServer(ctx, q, "calibrate"); {
		case errors.As(err, &private): // it stays here, and what the server would say is not known
			return row, nil
		case err != nil:
			return row, err
		}
	}
	if e.Server != "" || ask {
		row.Server = right(e.Server, e.Answer, choices)
	}
	return row, nil
}

func right(text, answer string, choices []string) float64 {
	if hybrid.Matches(text, answer, choices) {
		return 1
	}
	return 0
}

// ForgetCalibration takes a customisation's calibration away: the default one, or the
// thresholds alone, decide again.
func (l *Library) ForgetCalibration(name string) error { return l.records().RemoveCalibration(name) }

// CalibrationFile is where a customisation's calibration lies or would lie.
func (l *Library) CalibrationFile(name string) string { return l.records().CalibrationPath(name) }

// RouteStatus is how routing of one customisation stands.
type RouteStatus struct {
	Name        string            `json:"name"`
	Calibration *Calibration      `json:"calibration,omitempty"` // nil: none of its own
	ID          string            `json:"id,omitempty"`
	Stale       []string          `json:"stale,omitempty"` // what changed since
	Queries     int               `json:"queries"`         // in the log
	Sent        int               `json:"sent"`            // of them, to the server
	Degraded    int               `json:"degraded"`
	Failed      int               `json:"failed"`
	Since       time.Time         `json:"since,omitzero"` // of the first in the log
	PerDay      float64           `json:"per_day,omitempty"`
	SentPrompt  float64           `json:"sent_prompt_tokens,omitempty"`     // mean of a query that the server answered
	SentAnswer  float64           `json:"sent_completion_tokens,omitempty"` // mean of its answer
	Shadows     int               `json:"shadows,omitempty"`                // answered
	Agreement   float64           `json:"agreement,omitempty"`              // their mean
	Drift       []calibrate.Drift `json:"drift,omitempty"`
	Candidates  int               `json:"candidates,omitempty"` // answers of the server to look through
}

// RouteStatus reads calibrations and the log; base is the sha256 of the model in
// use, "" not compared. damaged is how many lines of the log cannot be read.
func (l *Library) RouteStatus(base string, names ...string) (all []RouteStatus, damaged int, err error) {
	if len(names) == 0 {
		if names, err = l.Names(); err != nil {
			return nil, 0, err
		}
	}
	at := map[string]*RouteStatus{}
	watches := map[string]*calibrate.Watch{}
	all = make([]RouteStatus, len(names))
	for i, name := range names {
		s := &all[i]
		*s = RouteStatus{Name: name}
		at[name] = s
		custom, err := l.Load(name)
		if err != nil {
			return nil, 0, err
		}
		if s.Calibration, s.ID, err = l.records().Calibration(name); err != nil {
			return nil, 0, err
		}
		if s.Calibration != nil {
			digest, err := custom.Digest()
			if err != nil {
				return nil, 0, err
			}
			was := s.Calibration.Digests
			now := calibrate.Digests{Base: base, Adapter: digest}
			if was.Path != "" {
				now.Data, _ = gguf.Digest(was.Path) // it may be gone, which changes nothing
			}
			s.Stale = was.Stale(now)
			watches[name] = calibrate.NewWatch(s.Calibration.Bands)
		}
		candidates, err := l.records().Candidates(name)
		if err != nil {
			return nil, 0, err
		}
		s.Candidates = len(candidates)
	}
	now := time.Now()
	damaged, err = l.records().Entries(func(e *record.Entry) error {
		s := at[e.Name]
		if s == nil {
			return nil
		}
		if e.Kind == record.Shadow {
			if e.Agreement != nil {
				s.Shadows++
				s.Agreement += *e.Agreement
			}
			return nil
		}
		if s.Queries == 0 {
			s.Since = e.Time
		}
		s.Queries++
		if e.Route == string(route.Server) {
			s.Sent++
			s.SentPrompt += float64(e.Prompt)
			s.SentAnswer += float64(e.Tokens)
		}
		if e.Degraded {
			s.Degraded++
		}
		if e.Outcome != "ok" {
			s.Failed++
		}
		if w := watches[e.Name]; w != nil && e.Calibration == s.ID && e.Told() {
			w.Add(e.Row(), e.Send)
		}
		return nil
	})
	for i := range all {
		s := &all[i]
		if s.Shadows > 0 {
			s.Agreement /= float64(s.Shadows)
		}
		if s.Sent > 0 {
			s.SentPrompt /= float64(s.Sent)
			s.SentAnswer /= float64(s.Sent)
		}
		if days := now.Sub(s.Since).Hours() / 24; s.Queries > 0 && days > 0 {
			s.PerDay = float64(s.Queries) / math.Max(days, 1)
		}
		if w := watches[s.Name]; w != nil {
			s.Drift = w.Drifts()
		}
	}
	return all, damaged, err
}

// Candidate is an answer of the server that may become an example.
type Candidate = record.Candidate

// Candidates are those of a customisation, and where they lie.
func (l *Library) Candidates(name string) (all []Candidate, path string, err error) {
	all, err = l.records().Candidates(name)
	return all, l.records().CandidatesPath(name), err
}

// DropCandidates forgets them.
func (l *Library) DropCandidates(name string) error { return l.records().PutCandidates(name, nil) }

// Decisions calls each for every entry of the log, the oldest first.
func (l *Library) Decisions(each func(*LoggedDecision) error) (damaged int, err error) {
	return l.records().Entries(each)
}

// DecisionLog is the log's file.
func (l *Library) DecisionLog() string { return l.records().LogPath() }

// Turn is a message of a conversation: role system, user or assistant.
type Turn = chat.Message

// Decide says who would answer a conversation's last turn, drafting on the device
// and sending nothing; context is text it is about.
func (c *Crayon) Decide(ctx context.Context, custom *Customisation, turns []Turn, context string) (Decision, error) {
	return c.hybrid.Explain(ctx, hybrid.Query{Messages: turns, Custom: custom, Context: context, Key: localKey})
}

// LoggedDecision is a line of the log of decisions.
type LoggedDecision = record.Entry

// ReadDecisions is Library.Decisions of a file.
func ReadDecisions(path string, each func(*LoggedDecision) error) (damaged int, err error) {
	return record.ReadLog(path, each)
}

// LoadCalibration is a customisation's own calibration as stored, stale or not,
// with the id that the log names it by; nil where there is none.
func (l *Library) LoadCalibration(name string) (c *Calibration, id string, err error) {
	return l.records().Calibration(name)
}

// ModelDigest is the sha256 of a model's file, hex; "" where it was not pulled.
func (l *Library) ModelDigest(model string) string {
	path, err := l.ModelPath(model)
	if err != nil {
		return ""
	}
	digest, err := l.paths.Digest(path)
	if err != nil {
		return ""
	}
	return digest
}
