package bench

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"crayon/internal/fault"
	"crayon/internal/strategy"
	"crayon/internal/task"
)

// Dialog is plain chat, on which a customisation should change little.
type Dialog struct {
	Turns []Turn `json:"turns"`
}

// Turn is what a user says and what a good assistant answers.
type Turn struct {
	User      string `json:"user"`
	Assistant string `json:"assistant"`
}

//go:embed chat.jsonl
var chatData []byte

// Chat are the dialogs that the program has with it, written for it.
func Chat() ([]Dialog, error) {
	var out []Dialog
	sc := bufio.NewScanner(bytes.NewReader(chatData))
	for sc.Scan() {
		var d Dialog
		if err := json.Unmarshal(sc.Bytes(), &d); err != nil || len(d.Turns) == 0 {
			return nil, &fault.Error{Op: "read chat", Path: fmt.Sprintf("line %d", len(out)+1), Err: errors.Join(errors.New("no dialog"), err)}
		}
		out = append(out, d)
	}
	return out, sc.Err()
}

var errSilent = errors.New("this engine generates no text")

// heard are the strategies measured elsewhere.
var heard = []string{base, single, "shared", "blend", "polish", "chosen"}

// sampled is how many users' answers to chat are shown, and to how many dialogs.
const (
	sampledUsers   = 4
	sampledDialogs = 2
)

// Elsewhere is a strategy's perplexity on plain chat.
type Elsewhere struct {
	Perplexity float64 `json:"perplexity"` // of the assistant's turns: exp of the mean over users of nats a token
	Worst      float64 `json:"worst"`      // of any user
	Of         string  `json:"of"`         // that user
	Users      int     `json:"users"`
}

// ChatSample is what the base model and a customised one answer to chat.
type ChatSample struct {
	User       string `json:"user"`
	Strategy   string `json:"strategy"`
	Asked      string `json:"asked"`
	Base       string `json:"base"`
	Customised string `json:"customised"`
}

// elsewhere is what a run keeps of it.
type elsewhere struct {
	directions [][]float32 // by turn
	baseline   []string    // greedy answers of the base model
	samples    []ChatSample
	users      int // sampled
}

// turns are the asks of all assistant's turns under a plan, and of each dialog's
// first turn its index.
func (r *runner) turns(ctx context.Context, plan *strategy.Plan, t strategy.Task) (asks []strategy.Ask, first []int, err error) {
	e := &r.elsewhere
	if e.directions == nil {
		var said []string
		for _, d := range r.opt.Elsewhere {
			for _, turn := range d.Turns {
				said = append(said, turn.User)
			}
		}
		if e.directions, err = r.directionsOf(ctx, said); err != nil {
			return nil, nil, err
		}
	}
	for _, d := range r.opt.Elsewhere {
		first = append(first, len(asks))
		var before []task.Shot
		for _, turn := range d.Turns {
			q := strategy.Row{Question: turn.User, Candidates: []string{turn.Assistant}, Gold: -1, Direction: e.directions[len(asks)]}
			a := plan.Ask(r.engine.Pool(), t, q)
			a.Text, a.Shots = turn.User, slices.Clone(before) // a chat has no label set
			asks = append(asks, a)
			before = append(before, task.Shot{Text: turn.User, Answer: turn.Assistant})
		}
	}
	return asks, first, nil
}

// listen measures a plan on chat, at the headline's k and first draw.
func (r *runner) listen(ctx context.Context, name string, res result, b *bout, sheet *Sheet) error {
	if r.opt.Elsewhere == nil || b.k != headline(r.opt.Shots) || b.draw != 0 || !slices.Contains(heard, name) || !res.plan.Plain() {
		return nil
	}
	asks, first, err := r.turns(ctx, res.plan, res.task)
	if err != nil {
		return err
	}
	scores, err := r.shared.Score(ctx, asks)
	if err != nil {
		return err
	}
	var sum strategy.Score
	for _, s := range scores {
		sum.Sum, sum.Tokens = sum.Sum+s[0].Sum, sum.Tokens+s[0].Tokens
	}
	if sheet.Chat == nil {
		sheet.Chat = map[string]float64{}
	}
	sheet.Chat[name] = round(-sum.Mean(), 6)
	return r.sample(ctx, name, b.user.Name, asks, first)
}

// sample keeps a few answers of a few users.
func (r *runner) sample(ctx context.Context, name, user string, asks []strategy.Ask, first []int) error {
	e := &r.elsewhere
	speaker, ok := r.engine.(Speaker)
	if !ok || name != "blend" && name != "chosen" || e.users >= sampledUsers {
		return nil
	}
	some := make([]strategy.Ask, 0, sampledDialogs)
	for _, i := range first[:min(sampledDialogs, len(first))] {
		some = append(some, asks[i])
	}
	if e.baseline == nil {
		bare := slices.Clone(some)
		for i := range bare {
			bare[i].Members, bare[i].Private = nil, nil
		}
		var err error
		if e.baseline, err = speaker.Say(ctx, bare, saidTokens); err != nil {
			return err
		}
	}
	texts, err := speaker.Say(ctx, some, saidTokens)
	if err != nil {
		return err
	}
	for i, text := range texts {
		r.part.Chats = append(r.part.Chats, ChatSample{User: user, Strategy: name, Asked: some[i].Text, Base: e.baseline[i], Customised: text})
	}
	return nil
}

// hear makes the figures of what the sheets have heard.
func hear(sheets []*Sheet) map[string]*Elsewhere {
	out := map[string]*Elsewhere{}
	sums := map[string]float64{}
	for _, s := range sheets {
		for name, nats := range s.Chat {
			e := out[name]
			if e == nil {
				e = &Elsewhere{}
				out[name] = e
			}
			sums[name] += nats
			e.Users++
			if x := figure(math.Exp(nats)); x > e.Worst || x == e.Worst && s.User < e.Of {
				e.Worst, e.Of = x, s.User
			}
		}
	}
	for name, e := range out {
		e.Perplexity = figure(math.Exp(sums[name] / float64(e.Users)))
	}
	return out
}
