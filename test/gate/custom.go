package main

import (
	"context"
	"fmt"

	"crayon/internal/customize"
	"crayon/internal/examples"
)

// rows are a user's 16 examples.
var rows = []struct{ question, answer string }{
	{"We are moving house in the holidays and want our letters to follow us", answers[0]},
	{"My telephone number is a new one from Monday", answers[0]},
	{"Please ring the aunt and no longer the grandfather", answers[0]},
	{"Our surname is another one since the wedding", answers[0]},
	{"She has been ill all night and stays in bed", answers[1]},
	{"He has a temperature, so we are keeping him here", answers[1]},
	{"The doctor wants her to rest until Thursday", answers[1]},
	{"Noah has broken his wrist, what do you need from us?", answers[1]},
	{"May I still sign for the visit to the castle?", answers[2]},
	{"The slip for the museum is lost", answers[2]},
	{"We are happy for him to spend two nights at the farm", answers[2]},
	{"Is it too late to say yes to the swimming gala?", answers[2]},
	{"His blue coat is no longer on the peg", answers[3]},
	{"Has anybody found a lunch box with stars on it?", answers[3]},
	{"She came home with only one shoe", answers[3]},
	{"The flute was left by the gate and is gone", answers[3]},
}

// answers are the labels of rows, and the choices of a question.
var answers = []string{"change of details", "sickness note", "trip consent", "lost property"}

// exampleSet is rows as they are read from a file, with a mark that tells runs apart.
func exampleSet(run int) *examples.Set {
	set := &examples.Set{Source: "the gate's examples", Labels: answers, Inferred: true}
	for _, r := range rows {
		set.Examples = append(set.Examples, examples.Example{Question: fmt.Sprintf("%03d: %s", run, r.question), Answer: r.answer, Labelled: true})
	}
	return set
}

// customise counts the tokens that a customisation and its proof compute.
func (s *subject) customise(ctx context.Context) error {
	d := s.device
	start := d.Model.Computed()
	c, err := s.make(ctx, 0)
	if err != nil {
		return err
	}
	made := d.Model.Computed()
	if _, err := customize.Prove(ctx, d, c, customize.Options{}, nil); err != nil {
		return err
	}
	s.add("customize.tokens", "tokens computed for a customisation of 16 examples, without a proof", made-start, exact)
	s.add("customize.proof.tokens", "the same with its proof", d.Model.Computed()-start, nearest)
	return nil
}

// allocationsOfCustomise counts the heap's use by a customisation without a proof.
func (s *subject) allocationsOfCustomise(ctx context.Context) error {
	u, err := least(func(run int, begin func()) error {
		begin()
		_, err := s.make(ctx, run+1)
		return err
	})
	s.addUsage("customize", "of a customisation of 16 examples, without a proof", u, 1)
	return err
}

// make makes a customisation and binds it, as the library does.
func (s *subject) make(ctx context.Context, run int) (*customize.Customisation, error) {
	c, err := customize.Make(ctx, s.device, "mine", exampleSet(run), customize.Options{})
	if err == nil {
		_, err = c.Bind(ctx, s.device)
	}
	return c, err
}
