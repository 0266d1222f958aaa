package benchhybrid

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"crayon/internal/bench"
	"crayon/internal/fault"
	"crayon/internal/route/signal"
	"crayon/internal/strategy"
)

// Row is one query with what both sides said: all that figures are made from. A
// raw file has a row a line.
type Row struct {
	User    string      `json:"user"` // with the group
	Set     string      `json:"set"`  // the user's data set
	Kin     string      `json:"kin"`  // its family
	Group   bench.Group `json:"group"`
	Own     bool        `json:"own,omitempty"` // of the user's own task
	ID      string      `json:"id"`
	Dataset string      `json:"dataset"` // the query's
	Family  string      `json:"family"`
	Model   string      `json:"server_model,omitempty"` // that was asked
	Choices int         `json:"choices"`
	Answer  int         `json:"answer"`

	Picks   map[string]int `json:"picks"`           // of the device, by way
	Server  map[string]int `json:"server"`          // of the server, by variant; -1: unparsable. None: it did not leave
	Signals signal.Values  `json:"signals"`         // of the customised device
	Bare    signal.Values  `json:"bare"`            // confidence of the bare one; its query signals are those of Signals
	Draft   signal.Values  `json:"draft,omitempty"` // confidence from the draft's tokens alone
	Hidden  string         `json:"hidden"`          // the query's feature, a byte a number, base64
	Cluster string         `json:"cluster"`         // the pool's nearest indicator

	Seconds map[string]float64 `json:"seconds"` // of the device, by way
	Costs   map[string]Cost    `json:"costs"`   // of the server, by examples given
}

// query names what was asked, whoever asked it.
func (r *Row) query() string { return r.Dataset + "\x00" + r.ID }

// Cost is what one answer of the server took.
type Cost struct {
	Seconds    float64 `json:"seconds"`
	Prompt     int64   `json:"prompt_tokens"`
	Completion int64   `json:"completion_tokens"`
}

// variant names a way of asking the server.
func variant(form string, shots int) string { return form + strconv.Itoa(shots) }

// The forms of an answer: the first letter of what the server says, and the
// letter with the largest log-probability.
const (
	byLetter  = "letter"
	byLogProb = "logprob"
)

// Rows are the parts' queries with the server's answers.
func Rows(parts []*Part, asked *Asked) []Row {
	var out []Row
	for _, p := range parts {
		examples := make([][]float32, len(p.Examples))
		for i := range p.Examples {
			examples[i] = p.Examples[i].Direction
		}
		own := signal.OwnScopes(examples)
		for i := range p.Queries {
			q := &p.Queries[i]
			r := Row{User: p.name(), Set: p.Dataset, Kin: p.Family, Group: p.Group, Own: q.Own, ID: q.ID, Dataset: q.Dataset, Family: q.Family,
				Model: asked.Model, Choices: len(q.Choices), Answer: q.Answer, Picks: map[string]int{}, Server: map[string]int{}, Seconds: map[string]float64{}, Costs: map[string]Cost{},
				Hidden: packed(q.Direction), Cluster: cluster(p, q)}
			for way, scores := range q.Scores {
				r.Picks[way], r.Seconds[way] = strategy.Best(scores), round(q.Seconds[way])
			}
			o := p.observation(q, examples, own)
			r.Signals = rounded(signal.Measure(o))
			r.Bare = kindOnly(signal.Measure(confident(signal.Observation{Query: q.Question}, q.Scores[Base])))
			if q.Drafted {
				r.Draft = kindOnly(signal.Measure(signal.Observation{Query: q.Question, Draft: q.Draft, Ended: q.Ended}))
			}
			for _, shots := range serverShots {
				x := asked.get(p, q, shots)
				if x == nil {
					continue
				}
				r.Server[variant(byLetter, shots)] = firstLetter(x.Text, len(q.Choices))
				if len(x.Top) > 0 {
					r.Server[variant(byLogProb, shots)] = likeliestLetter(x.Top, len(q.Choices))
				}
				r.Costs[strconv.Itoa(shots)] = Cost{round(x.Seconds), x.Prompt, x.Completion}
			}
			out = append(out, r)
		}
	}
	return out
}

// observation is what the product would measure of the query, but that a draft,
// where none was asked for, is the choice as labels have it: one token.
func (p *Part) observation(q *Observed, examples [][]float32, own []float64) signal.Observation {
	o := signal.Observation{Query: q.Question, Context: q.Context, QueryTokens: q.Tokens, ContextTokens: q.ContextTokens,
		Direction: q.Direction, Examples: examples, Own: own, Similarity: q.Similarity, Tau: p.Tau, Blend: p.Blend,
		Others: q.Others, Features: q.Features, Table: q.Table, ProofRows: p.Proof, ProofRight: p.Proven}
	if len(p.Labels) > 0 {
		for _, e := range p.Examples {
			at := -1
			if e.Answer >= 0 && e.Answer < len(e.Choices) {
				at = slices.Index(q.Choices, e.Choices[e.Answer])
			}
			o.Answers = append(o.Answers, at)
		}
	}
	o = confident(o, q.Scores[Custom])
	if q.Drafted {
		o.Draft, o.Ended = q.Draft, q.Ended
	}
	return o
}

// confident adds choices' scores as the product does when it picks a label.
func confident(o signal.Observation, scores []float64) signal.Observation {
	o.Choices = scores
	o.Draft, o.Ended = []float64{slices.Max(strategy.Softmax(scores))}, true
	return o
}

func cluster(p *Part, q *Observed) string {
	if len(q.Similarity) == 0 {
		return ""
	}
	return fmt.Sprintf("%.8s/%d", p.Digests["pool"], slices.Index(q.Similarity, slices.Max(q.Similarity)))
}

// kindOnly keeps confidence signals.
func kindOnly(v signal.Values) signal.Values {
	v = rounded(v)
	for i, s := range signal.All() {
		if s.Kind != signal.Confidence {
			v[i] = math.NaN()
		}
	}
	return v
}

// with is v's query signals and another's confidence, and nothing of a
// customisation.
func with(v, confidence signal.Values) signal.Values {
	out := signal.None()
	for i, s := range signal.All() {
		switch s.Kind {
		case signal.Query:
			out[i] = v[i]
		case signal.Confidence:
			out[i] = confidence[i]
		}
	}
	return out
}

// drafted is v with the confidence of the draft alone.
func drafted(v, draft signal.Values) signal.Values {
	out := slices.Clone(v)
	for i, s := range signal.All() {
		if s.Kind == signal.Confidence {
			out[i] = draft[i]
		}
	}
	return out
}

func rounded(v signal.Values) signal.Values {
	for i := range v {
		v[i] = round(v[i])
	}
	return v
}

// round keeps six significant digits.
func round(x float64) float64 {
	if x == 0 || math.IsNaN(x) || math.IsInf(x, 0) {
		return x
	}
	y, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 6, 64), 64)
	if err != nil {
		return x
	}
	return y
}

// packed is a vector at 8 bits: a byte of its largest number's scale each.
func packed(x []float32) string {
	var top float32
	for _, v := range x {
		top = max(top, v, -v)
	}
	if top == 0 {
		return ""
	}
	b := make([]byte, len(x))
	for i, v := range x {
		b[i] = byte(int8(math.Round(float64(v / top * 127))))
	}
	return base64.StdEncoding.EncodeToString(b)
}

// unpacked is a packed vector of unit length; nil for none.
func unpacked(s string) ([]float64, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b) == 0 {
		return nil, err
	}
	out, sum := make([]float64, len(b)), 0.0
	for i, v := range b {
		out[i] = float64(int8(v))
		sum += out[i] * out[i]
	}
	for i := range out {
		out[i] /= math.Sqrt(sum)
	}
	return out, nil
}

// WriteRows writes rows as gzip JSON lines. The bytes depend on the rows alone.
func WriteRows(w io.Writer, rows []Row) error {
	fail := func(err error) error { return &fault.Error{Op: "write raw rows", Err: err} }
	zw, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return fail(err)
	}
	enc := json.NewEncoder(zw)
	for i := range rows {
		if err := enc.Encode(&rows[i]); err != nil {
			return fail(err)
		}
	}
	if err := zw.Close(); err != nil {
		return fail(err)
	}
	return nil
}

// Bounds of a raw file.
const (
	mostRow  = 1 << 20 // bytes
	mostRows = 1 << 20
)

// ReadRows reads what WriteRows wrote, and checks each row; name is for errors.
func ReadRows(name string, r io.Reader) ([]Row, error) {
	return bench.ReadLines(name, r, mostRow, mostRows, "rows", (*Row).check, func(rows []Row) error {
		if len(rows) == 0 {
			return errors.New("no row")
		}
		return nil
	})
}

func (r *Row) check() error {
	if r.User == "" || r.Set == "" || r.Choices < 2 || r.Answer < 0 || r.Answer >= r.Choices {
		return fmt.Errorf("row %s: answer %d of %d choices", r.ID, r.Answer, r.Choices)
	}
	for _, way := range []string{Base, Custom} {
		if _, ok := r.Picks[way]; !ok {
			return fmt.Errorf("row %s: the device's %s has no pick", r.ID, way)
		}
	}
	for _, picks := range []map[string]int{r.Picks, r.Server} {
		for way, p := range picks {
			if p < unparsable || p >= r.Choices {
				return fmt.Errorf("row %s: %s picks %d of %d choices", r.ID, way, p, r.Choices)
			}
		}
	}
	if len(r.Signals) != signal.Count() || len(r.Bare) != signal.Count() {
		return fmt.Errorf("row %s: no signals", r.ID)
	}
	if _, err := unpacked(r.Hidden); err != nil {
		return fmt.Errorf("row %s: %w", r.ID, err)
	}
	return nil
}

// right is 1 where a pick is the answer, else 0.
func (r *Row) right(pick int) float64 {
	if pick == r.Answer {
		return 1
	}
	return 0
}
