package calibrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"crayon/internal/fault"
	"crayon/internal/route/signal"
)

// Version of the stored form.
const Version = 1

// Calibration is what was learned from rows: who is right how probably, and from
// which gain on a query leaves.
type Calibration struct {
	Version int       `json:"version"`
	Made    time.Time `json:"made"`
	Digests Digests   `json:"digests"`
	Device  *Model    `json:"device"`
	Server  *Model    `json:"server,omitempty"` // nil: Assumed for every query
	Assumed float64   `json:"assumed"`          // share of the server's answers that are right, where no model tells
	Given   bool      `json:"given,omitempty"`  // Assumed was said, not measured
	Early   *Early    `json:"early,omitempty"`
	Rule    Rule      `json:"rule"`
	Bands   []Band    `json:"bands"`
	Needs   []string  `json:"needs,omitempty"` // a default calibration: signals that all its rows had
}

// Covers says whether a query has all the signals that the rows had; of one that
// has not, such as a free answer where all rows were choices, nothing is known.
func (c *Calibration) Covers(v signal.Values) bool {
	return !slices.ContainsFunc(c.Needs, func(name string) bool { return math.IsNaN(v.Get(name)) })
}

// measuredIn are the signals that every row has.
func measuredIn(rows []Row) []string {
	var out []string
	for _, s := range signal.All() {
		if !slices.ContainsFunc(rows, func(r Row) bool { return math.IsNaN(r.Signals.Get(s.Name)) }) {
			out = append(out, s.Name)
		}
	}
	return out
}

// Early are the models of what is known before the draft.
type Early struct {
	Device *Model `json:"device"`
	Server *Model `json:"server,omitempty"`
}

// Digests are what a calibration holds for: sha256, hex. An empty one is not
// compared.
type Digests struct {
	Base    string   `json:"base,omitempty"`    // of the model's file
	Adapter string   `json:"adapter,omitempty"` // of the customisation, as it answers
	Data    string   `json:"data,omitempty"`    // of the file of rows
	Path    string   `json:"path,omitempty"`    // where that lay
	Pools   []string `json:"pools,omitempty"`   // a default calibration: of the pools it is for
	Lineage string   `json:"lineage,omitempty"` // a default calibration: of the base model
}

// Stale says what has changed since; none: it holds.
func (d Digests) Stale(now Digests) []string {
	var out []string
	for _, x := range []struct{ name, was, is string }{{"the model", d.Base, now.Base}, {"the customisation", d.Adapter, now.Adapter}, {"the data", d.Data, now.Data}} {
		if x.was != "" && x.is != "" && x.was != x.is {
			out = append(out, x.name)
		}
	}
	return out
}

// Ask is what a calibration is to keep.
type Ask struct {
	Promise Promise
	Target  float64
	Within  float64  // how far off it may be; 0: 0.1
	Price   float64  // of a query sent, for Cost
	PerDay  float64  // queries, for Cost
	Server  float64  // share of the server's answers that are right, where rows do not say; NaN or 0: not said
	Scope   *float64 // least scope of a query that may stay; nil: none. What lies outside is unlike all rows, so they say nothing of it
	Prior   *Calibration
	Seed    uint64 // of the parts
	Whole   bool   // a default calibration: fitted on all rows, checked by cross-fitting over groups
	Check   []Row  // to check on, all others being fitted on; nil: a part of the rows
	Now     time.Time
}

// Make learns from rows: models and threshold from one part, checked on the
// other. Rows need Device; Server as far as it is known. It is deterministic.
// Errors wrap ErrTooFewRows, ErrOneClass or ErrNotKept.
func Make(rows []Row, a Ask) (*Calibration, error) {
	known := answered(rows)
	if err := a.Refuse(len(known)); err != nil {
		return nil, err
	}
	fit, check := known, known
	switch {
	case a.Check != nil:
		check = answered(a.Check)
	case !a.Whole:
		fit, check = parts(known, a.Seed)
	}
	c := &Calibration{Version: Version, Made: a.Now.UTC().Truncate(time.Second), Assumed: a.Server}
	gains, err := c.learn(fit, a)
	if err != nil {
		return nil, err
	}
	if err := c.set(fit, check, gains, a); err != nil {
		return nil, err
	}
	if a.Whole {
		for _, m := range c.models() {
			m.Logistic.Users = nil // of nobody who will ask
		}
		c.Needs = measuredIn(known)
	}
	return c, nil
}

// answered are the rows that say whether the device is right.
func answered(rows []Row) []Row {
	var out []Row
	for _, r := range rows {
		if !math.IsNaN(r.Device) {
			out = append(out, r)
		}
	}
	return out
}

// parts deals rows at random into those fitted on and those checked on.
func parts(rows []Row, seed uint64) (fit, check []Row) {
	order := rand.New(rand.NewPCG(seed, 6)).Perm(len(rows))
	n := int(math.Round(fitShare * float64(len(rows))))
	for k, i := range order {
		if k < n {
			fit = append(fit, rows[i])
		} else {
			check = append(check, rows[i])
		}
	}
	return fit, check
}

// ErrNoServer is that nothing says what the server is worth.
var ErrNoServer error = &fault.Error{Op: "calibrate", Err: errors.New("nothing says how often the server is right: the rows have no column server"),
	Hint: "--ask-server asks it, --server-quality 0.7 assumes so", Exit: fault.ExitUsage}

func device(r Row) float64 { return r.Device }
func server(r Row) float64 { return r.Server }

// learn fits the models and returns each row's gain as a model that had not seen
// its group tells it.
func (c *Calibration) learn(rows []Row, a Ask) ([]float64, error) {
	o := Options{Seed: a.Seed}
	if a.Prior != nil {
		o.Prior = a.Prior.Device
	}
	d, err := FitModel(rows, device, o)
	if err != nil {
		return nil, err
	}
	c.Device = d.Model
	serverOut := make([]float64, len(rows))
	var told, right float64
	for _, r := range rows {
		if !math.IsNaN(r.Server) {
			told++
			right += r.Server
		}
	}
	switch {
	case told == 0 && !(a.Server > 0 && a.Server <= 1):
		return nil, ErrNoServer
	case told == 0:
		c.Given = true
	default:
		c.Assumed = (right + 1) / (told + 2)
		so := Options{Seed: a.Seed}
		if a.Prior != nil {
			so.Prior = a.Prior.Server
		}
		if s, err := FitModel(rows, server, so); err == nil { // else the share alone
			c.Server, serverOut = s.Model, s.Out
		}
	}
	gains := make([]float64, len(rows))
	for i := range gains {
		if c.Server == nil || math.IsNaN(serverOut[i]) {
			serverOut[i] = c.Assumed
		}
		gains[i] = serverOut[i] - d.Out[i]
	}
	return gains, nil
}

// set chooses the threshold on the fitted rows and checks it on the others;
// crossed are the fitted rows' gains by models that had not seen them.
func (c *Calibration) set(fit, check []Row, crossed []float64, a Ask) error {
	share, err := a.share()
	if err != nil {
		return err
	}
	outcomes := func(rows []Row, sent bool) []float64 {
		out := make([]float64, len(rows))
		for i, r := range rows {
			out[i] = outcome(r, sent, c.Assumed)
		}
		return out
	}
	c.Rule = Rule{Promise: a.Promise, Scope: a.Scope, Target: a.Target, Within: a.Within, Price: a.Price, PerDay: a.PerDay, FitRows: len(fit), CheckRows: len(check)}
	gains := make([]float64, len(fit))
	for i, r := range fit {
		gains[i] = c.Gain(r)
	}
	// How good a share is, models tell that had not seen the row. Which threshold
	// sends that share, the model itself tells: models that left a part out differ
	// from it, and where the signals say little only in their level.
	if a.Promise == Quality {
		at := Frontier(crossed, outcomes(fit, false), outcomes(fit, true), 50)
		for i, p := range Frontier(gains, crossed, crossed, 50) {
			at[i].Threshold = p.Threshold
		}
		if c.Rule.Threshold, err = c.shown(&a, at, check); err != nil {
			return err
		}
	} else {
		gains = c.outward(fit, gains)
		c.Rule.Threshold = ShareThreshold(gains, share)
		if !a.Whole { // before the draft a query lacks what the rows had
			c.early(fit, gains, share, a)
		}
		crossed = c.outward(fit, crossed)
	}
	leaves := ShareThreshold(crossed, share)
	sent, right := 0, make([]float64, len(check))
	verdict := make([]bool, len(check))
	for i, r := range check {
		// Where no rows are left to check on, what was cross-fitted tells.
		if verdict[i] = c.Sends(r); a.Whole && a.Check == nil && a.Promise != Quality {
			verdict[i] = crossed[i] > leaves
		}
		if verdict[i] {
			sent++
		}
		right[i] = outcome(r, verdict[i], c.Assumed)
	}
	c.Rule.Sent, c.Rule.Right = ClopperPearson(sent, len(check), confidence), MeanInterval(right, confidence)
	c.Rule.Device, c.Rule.Server = meanOf(outcomes(check, false)), meanOf(outcomes(check, true))
	seen := slices.Clone(check)
	for i := range seen {
		if c.SendsEarly(seen[i]) { // its draft will not be there to be measured
			seen[i].Signals = seen[i].Signals.Early()
		}
	}
	c.Bands = bands(seen, verdict)
	if a.Promise != Quality && (c.Rule.Sent.Low > share+a.Within || c.Rule.Sent.High < share-a.Within) {
		hint, outside := "add rows, or allow more with --within", 0
		for _, r := range check {
			if c.Outside(r) {
				outside++
			}
		}
		if float64(outside) > share*float64(len(check)) {
			hint = fmt.Sprintf("%d of %d are unlike your examples: add examples of their kind, or CRAYON_ROUTE_SCOPE=off", outside, len(check))
		}
		return &fault.Error{Op: "calibrate", Err: fmt.Errorf("%w: a share of %.2f; %.2f of them were sent (%.2f to %.2f)", ErrNotKept, share, c.Rule.Sent.Value, c.Rule.Sent.Low, c.Rule.Sent.High),
			Hint: hint, Exit: fault.ExitRefused}
	}
	return nil
}

func meanOf(xs []float64) float64 {
	var sum float64
	for _, x := range xs {
		sum += x
	}
	return sum / float64(max(1, len(xs)))
}

// outward are gains with those of rows outside the scope at the top.
func (c *Calibration) outward(rows []Row, gains []float64) []float64 {
	out := slices.Clone(gains)
	for i, r := range rows {
		if c.Outside(r) {
			out[i] = never(1)
		}
	}
	return out
}

// Outside says whether a query leaves because it is unlike the examples, whatever
// its gain.
func (c *Calibration) Outside(r Row) bool {
	return c.Rule.Scope != nil && r.Signals.Get("scope") < *c.Rule.Scope
}

// The least precision of leaving undrafted, and the least rows it is told from.
const (
	earlyPrecision = 0.95
	leastEarly     = 20
)

// early finds the gain before the draft from which on nearly all rows leave
// after it too, so that they need no draft, and sets the threshold anew so that
// the share comes out the same.
func (c *Calibration) early(rows []Row, gains []float64, share float64, a Ask) {
	d, err := FitModel(rows, device, Options{Early: true, Seed: a.Seed})
	if err != nil {
		return
	}
	e := &Early{Device: d.Model}
	if c.Server != nil {
		if s, err := FitModel(rows, server, Options{Early: true, Seed: a.Seed}); err == nil {
			e.Server = s.Model
		}
	}
	before := make([]float64, len(rows))
	for i, r := range rows {
		before[i] = e.gain(r, c.Assumed)
	}
	order := sorted(before)
	leave, found := 0, math.NaN()
	for k := range order {
		i := order[len(order)-1-k]
		if gains[i] > c.Rule.Threshold {
			leave++
		}
		if k+1 >= leastEarly && float64(leave) >= earlyPrecision*float64(k+1) && k+1 < len(order) {
			found = before[order[len(order)-2-k]] // above the next one
		}
	}
	if math.IsNaN(found) {
		return
	}
	c.Early, c.Rule.Early = e, &found
	scores := make([]float64, len(gains))
	for i := range gains {
		if scores[i] = gains[i]; before[i] > found {
			scores[i] = never(1)
		}
	}
	c.Rule.Threshold = ShareThreshold(scores, share)
}

// Gain is what sending a query is expected to add: the probability that the
// server is right less that of the device, -1 to 1.
func (c *Calibration) Gain(r Row) float64 { return c.server(r) - c.Device.P(r) }

func (c *Calibration) server(r Row) float64 {
	if c.Server == nil {
		return c.Assumed
	}
	return c.Server.P(r)
}

// EarlyGain is the same by what is known before the draft; NaN without a model
// of that.
func (c *Calibration) EarlyGain(r Row) float64 {
	if !c.JudgesEarly() {
		return math.NaN()
	}
	return c.Early.gain(r, c.Assumed)
}

func (e *Early) gain(r Row, assumed float64) float64 {
	r.Signals = r.Signals.Early()
	if e.Server != nil {
		assumed = e.Server.P(r)
	}
	return assumed - e.Device.P(r)
}

// JudgesEarly says whether it has something to say before the draft.
func (c *Calibration) JudgesEarly() bool { return c.Early != nil && c.Rule.Early != nil }

// SendsEarly says whether a query leaves undrafted.
func (c *Calibration) SendsEarly(r Row) bool {
	return c.JudgesEarly() && c.EarlyGain(r) > *c.Rule.Early
}

// Sends says whether a query leaves.
func (c *Calibration) Sends(r Row) bool {
	return c.Outside(r) || c.SendsEarly(r) || c.Gain(r) > c.Rule.Threshold
}

// At is a copy with another threshold, and without one before the draft.
func (c *Calibration) At(threshold float64) *Calibration {
	d := *c
	d.Rule.Threshold, d.Rule.Early = threshold, nil
	return &d
}

// Estimate is what a calibration says of one query.
type Estimate struct {
	Device    float64 `json:"device"` // probability of being right
	Server    float64 `json:"server"`
	Gain      float64 `json:"gain"`
	Threshold float64 `json:"threshold"` // it leaves above
	Early     bool    `json:"early"`     // told before the draft
	Send      bool    `json:"send"`
	Logit     float64 `json:"logit"`  // of the device
	Common    float64 `json:"common"` // of it, what all queries share
	Parts     []Part  `json:"parts"`
}

// Estimate judges a query. early: by what is known before the draft, and then
// Send is final only if true.
func (c *Calibration) Estimate(r Row, early bool) Estimate {
	e := Estimate{Early: early, Threshold: c.Rule.Threshold}
	m := c.Device
	if early && c.JudgesEarly() {
		r.Signals = r.Signals.Early()
		m, e.Threshold = c.Early.Device, *c.Rule.Early
		e.Gain, e.Send = c.EarlyGain(r), c.SendsEarly(r)
	} else {
		e.Gain = c.Gain(r)
		e.Send = !early && e.Gain > e.Threshold
	}
	e.Device = m.P(r)
	e.Server = e.Gain + e.Device
	e.Logit = m.Logistic.Logit(r)
	e.Parts, e.Common = m.Logistic.Parts(r)
	return e
}

// Against sums what the signals of a kind take off the device's logit: below 0
// they speak against it.
func (e *Estimate) Against(k signal.Kind) float64 {
	var sum float64
	for _, p := range e.Parts {
		if p.Kind == k {
			sum += p.Logit
		}
	}
	return sum
}

// Marshal is the stored form.
func (c *Calibration) Marshal() ([]byte, error) { return json.MarshalIndent(c, "", " ") }

// Parse reads the stored form and checks it.
func Parse(name string, data []byte) (*Calibration, error) {
	c := &Calibration{}
	bad := func(err error) (*Calibration, error) {
		return nil, &fault.Error{Op: "read calibration", Path: name, Err: err, Hint: "crayon route calibrate makes it anew", Exit: fault.ExitVerify}
	}
	if err := json.Unmarshal(data, c); err != nil {
		return bad(err)
	}
	if c.Version != Version {
		return bad(fmt.Errorf("version %d, this program reads version %d", c.Version, Version))
	}
	if err := c.check(); err != nil {
		return bad(err)
	}
	return c, nil
}

// models are those there are.
func (c *Calibration) models() []*Model {
	all := []*Model{c.Device, c.Server}
	if c.Early != nil {
		all = append(all, c.Early.Device, c.Early.Server)
	}
	return slices.DeleteFunc(all, func(m *Model) bool { return m == nil })
}

func (c *Calibration) check() error {
	switch {
	case c.Early != nil && c.Early.Device == nil:
		return errors.New("it has no model of the device before the draft")
	case c.Device == nil:
		return errors.New("it has no model of the device")
	case !(c.Assumed >= 0 && c.Assumed <= 1):
		return fmt.Errorf("a server that is right at %g", c.Assumed)
	case len(c.Bands) > 64:
		return fmt.Errorf("%d bands", len(c.Bands))
	case len(c.Needs) > 1024:
		return fmt.Errorf("%d signals needed", len(c.Needs))
	}
	for _, m := range c.models() {
		if err := m.Check(); err != nil {
			return err
		}
	}
	for i := range c.Bands {
		if err := c.Bands[i].check(); err != nil {
			return err
		}
	}
	return c.Rule.check()
}
