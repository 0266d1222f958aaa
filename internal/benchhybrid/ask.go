package benchhybrid

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"crayon/internal/fault"
	"crayon/internal/store"
	"crayon/internal/upstream"
)

// Server is the larger LLM, behind the gate.
type Server interface {
	URL() string
	Models(ctx context.Context) ([]string, error)
	Complete(ctx context.Context, r upstream.Request) (upstream.Reply, error)
}

// serverShots are how many of the user's examples the server is given, in turn.
var serverShots = []int{0, 5, 16}

// AskOptions says how the server is asked.
type AskOptions struct {
	Folder   string // keeps answers
	Model    string // "": the first that the server lists, asked once and kept
	Shots    []int  // examples given, of 0, 5 and 16; nil: all
	Parallel int    // requests at once; 0: one
	Known    bool   // ask nothing: what is not known is left out
	Progress func(user string, done, total int)
}

// Asked is what the server said to the queries of some parts.
type Asked struct {
	Model    string
	answers  map[string]*Answer
	LogProbs bool           // whether the server tells them
	Fresh    int            // asked now
	Held     map[string]int // queries that did not leave, by reason
}

// Ask asks the server every query of the parts without, with five and with 16 of
// the user's examples, unless the folder has the answer. A query that must not
// leave, or is longer than the server takes, is held back and counted; what else
// goes wrong is an error, and what was answered stays known.
func Ask(ctx context.Context, server Server, parts []*Part, o AskOptions) (out *Asked, err error) {
	known, err := openAnswers(filepath.Join(o.Folder, "answers.jsonl"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, known.close()) }()
	out = &Asked{answers: known.known, LogProbs: true, Held: map[string]int{}}
	if out.Model, err = modelOf(ctx, server, o); err != nil {
		return nil, err
	}
	if o.Known {
		return out, nil
	}
	given := o.Shots
	if given == nil {
		given = serverShots
	}
	for _, n := range given {
		if !slices.Contains(serverShots, n) {
			return nil, &fault.Error{Op: "ask server", Err: fmt.Errorf("%d examples, not 0, 5 or 16", n), Exit: fault.ExitUsage, Hint: "--server-shots 0,5,16"}
		}
	}
	type job struct {
		part  *Part
		query *Observed
		shots int
	}
	var jobs []job
	for _, p := range parts {
		for _, shots := range given { // a user's examples are one prefix
			for i := range p.Queries {
				jobs = append(jobs, job{p, &p.Queries[i], shots})
			}
		}
	}
	a := &asking{Asked: out, server: server, keep: known, on: map[string]bool{}}
	g, failed := errgroup.WithContext(ctx) // what is under way when one fails was paid for: it is waited for
	g.SetLimit(max(1, o.Parallel))
	for i, j := range jobs {
		if failed.Err() != nil {
			break
		}
		if o.Progress != nil && i%10 == 0 {
			o.Progress(j.part.User, i, len(jobs))
		}
		if !a.settled() { // the first answer says whether the server tells log-probabilities
			if err := a.one(ctx, j.part, j.query, j.shots); err != nil {
				return nil, errors.Join(err, g.Wait())
			}
			continue
		}
		g.Go(func() error {
			if failed.Err() != nil {
				return nil
			}
			return a.one(ctx, j.part, j.query, j.shots)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if o.Progress != nil {
		o.Progress("", len(jobs), len(jobs))
	}
	return out, nil
}

// asking is the server's step in work.
type asking struct {
	*Asked
	server Server

	mu   sync.Mutex // holds what follows, Asked and keep
	keep *answers
	on   map[string]bool // keys being asked
}

// settled says whether a fresh answer has come.
func (a *asking) settled() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.Fresh > 0
}

// claim is the request for a query and its key, unless its answer is known, on
// its way, or cannot be asked for.
func (a *asking) claim(p *Part, q *Observed, shots int) (request []byte, key string, logProbs bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.get(p, q, shots) != nil {
		return nil, "", false, nil
	}
	request, ok, err := body(p, q, shots, a.LogProbs)
	if err != nil {
		return nil, "", false, err
	}
	if !ok {
		a.Held["too many choices"]++
		return nil, "", false, nil
	}
	if key = answerKey(request, a.Model); a.on[key] {
		return nil, "", false, nil
	}
	a.on[key] = true
	return request, key, a.LogProbs, nil
}

// one asks one query, if it is not known.
func (a *asking) one(ctx context.Context, p *Part, q *Observed, shots int) error {
	again, err := a.try(ctx, p, q, shots)
	if again {
		_, err = a.try(ctx, p, q, shots)
	}
	return err
}

// try asks one query. It is to be tried again, without log-probabilities, where
// the server turns out not to know them.
func (a *asking) try(ctx context.Context, p *Part, q *Observed, shots int) (again bool, err error) {
	request, key, logProbs, err := a.claim(p, q, shots)
	if request == nil {
		return false, err
	}
	reply, err := a.server.Complete(ctx, upstream.Request{Body: request, Model: a.Model, Why: "benchmark"})
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.on, key)
	var private *upstream.Private
	switch {
	case err == nil:
	case errors.As(err, &private):
		a.Held["private"]++
		return false, nil
	case upstream.KindOf(err) == upstream.TooLong:
		a.Held["too long"]++
		return false, nil
	case upstream.KindOf(err) == upstream.Rejected && logProbs && a.Fresh == 0:
		a.LogProbs = false
		return true, nil
	default:
		return false, err
	}
	x := &Answer{Key: key, Text: reply.Text, Seconds: reply.Took.Seconds(), Prompt: reply.Usage.Prompt, Completion: reply.Usage.Completion}
	x.Top = topOf(reply.Raw)
	a.Fresh++
	return false, a.keep.add(x)
}

// get is the answer to a query, or nil; one that was given with log-probabilities
// before one without.
func (a *Asked) get(p *Part, q *Observed, shots int) *Answer {
	for _, logProbs := range []bool{true, false} {
		b, ok, err := body(p, q, shots, logProbs)
		if err != nil || !ok {
			return nil
		}
		if x := a.answers[answerKey(b, a.Model)]; x != nil {
			return x
		}
	}
	return nil
}

// topOf reads the likeliest first tokens of a whole answer; nil: it has none.
func topOf(raw []byte) []Likely {
	var r struct {
		Choices []struct {
			LogProbs struct {
				Content []struct {
					Top []Likely `json:"top_logprobs"`
				} `json:"content"`
			} `json:"logprobs"`
		} `json:"choices"`
	}
	if json.Unmarshal(raw, &r) != nil || len(r.Choices) == 0 || len(r.Choices[0].LogProbs.Content) == 0 {
		return nil
	}
	top := r.Choices[0].LogProbs.Content[0].Top
	return slices.Clip(top[:min(len(top), mostLikely)])
}

// modelOf is the model that is asked. What an address listed first is kept, so
// that a run over known answers dials nothing.
func modelOf(ctx context.Context, server Server, o AskOptions) (string, error) {
	if o.Model != "" {
		return o.Model, nil
	}
	path := filepath.Join(o.Folder, "servers.json")
	first := map[string]string{}
	data, err := store.ReadFile(path, 1<<20)
	switch {
	case err == nil:
		if err := json.Unmarshal(data, &first); err != nil {
			return "", &fault.Error{Op: "read servers", Path: path, Err: err, Hint: "remove the file"}
		}
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	if m := first[server.URL()]; m != "" {
		return m, nil
	}
	if o.Known {
		return "", &fault.Error{Op: "judge answers", Path: server.URL(), Err: errors.New("it has not been asked"), Hint: "--steps server, or --server-model NAME", Exit: fault.ExitUsage}
	}
	names, err := server.Models(ctx)
	if err != nil {
		return "", err
	}
	if len(names) == 0 || names[0] == "" {
		return "", &fault.Error{Op: "ask server", Path: server.URL(), Err: errors.New("it lists no models"), Hint: "--server-model NAME"}
	}
	first[server.URL()] = names[0]
	if data, err = json.Marshal(first); err != nil {
		return "", fmt.Errorf("keep servers: %w", err)
	}
	return names[0], store.WriteBytes(path, append(data, '\n'))
}
