package crayon

import (
	"context"
	"crypto/rand"

	"crayon/internal/chat"
	"crayon/internal/hybrid"
	"crayon/internal/model"
)

// Session is a conversation with the bare model or with a customisation. It is
// for one goroutine at a time.
type Session struct {
	c      *Crayon
	custom *Customisation
	turns  []chat.Message
	id     string // of the conversation: once private, it stays so, whatever turns are forgotten
}

// Session begins a conversation; nil is the bare base model.
func (c *Crayon) Session(custom *Customisation) *Session {
	return &Session{c: c, custom: custom, id: rand.Text()}
}

// Sampling says how tokens are drawn; the zero value is greedy.
type Sampling = model.Sampling

// Question is one turn of the user.
type Question struct {
	Text      string
	Context   string   // background text; "" for none
	Choices   []string // the answer is one of them; nil: one of the labels, or free text
	Side      Side     // "" as the policy says
	MaxTokens int      // 0: until the answer ends or the context is full
	Stop      []string // the answer ends before the first of these
	Private   bool     // it stays here, and so does the rest of the conversation
	Sampling
}

// Sink hears an answer as it comes: the decision once, before any text.
type Sink = hybrid.Sink

// Answer is a whole answer with the decision behind it.
type Answer = hybrid.Answer

// Silent is a Sink that says nothing.
var Silent Sink = silent{}

type silent struct{}

func (silent) Decided(Decision) error { return nil }
func (silent) Text(string) error      { return nil }

// Ask answers a question and remembers both as turns. Under a customisation
// with labels every question stands alone, as its examples did, and so does one
// with choices. Turns that no
// longer fit the model's context are forgotten, the oldest first.
func (s *Session) Ask(ctx context.Context, q Question, sink Sink) (Answer, error) {
	query, err := s.query(q)
	if err != nil {
		return Answer{}, err
	}
	a, err := s.c.hybrid.Answer(ctx, query, sink)
	if err != nil {
		return a, err
	}
	if len(q.Choices) == 0 && (s.custom == nil || len(s.custom.Labels) == 0) {
		s.turns = append(query.Messages, chat.Message{Role: "assistant", Content: a.Text})
	}
	return a, nil
}

// Explain decides who would answer, with every signal, and answers nothing.
func (s *Session) Explain(ctx context.Context, q Question) (Decision, error) {
	query, err := s.query(q)
	if err != nil {
		return Decision{}, err
	}
	return s.c.hybrid.Explain(ctx, query)
}

// Clear forgets the turns so far, and begins another conversation.
func (s *Session) Clear() { s.turns, s.id = nil, rand.Text() }

// localKey is the name that the budget and the ledger know sessions by.
const localKey = "local"

// Turns is how many messages are remembered.
func (s *Session) Turns() int { return len(s.turns) }

// leastAnswer is the room for an answer, in tokens, for which old turns go.
const leastAnswer = 256

func (s *Session) query(q Question) (hybrid.Query, error) {
	query := hybrid.Query{Custom: s.custom, Context: q.Context, Choices: q.Choices, Force: q.Side, MaxTokens: q.MaxTokens, Stop: q.Stop, Sampling: q.Sampling,
		Key: localKey, Conversation: s.id, Private: q.Private}
	d, turns := s.c.device, s.turns
	if s.custom != nil {
		var err error
		if d, err = s.custom.On(d); err != nil {
			return query, err
		}
	}
	for {
		query.Messages = append(append([]chat.Message(nil), turns...), chat.Message{Role: "user", Content: q.Text})
		if len(turns) < 2 {
			return query, nil
		}
		prompt, err := d.Form.Chat(query.Messages)
		if err != nil {
			return query, err
		}
		if len(prompt)+leastAnswer <= d.Model.Config.Context {
			return query, nil
		}
		turns = turns[2:]
	}
}
