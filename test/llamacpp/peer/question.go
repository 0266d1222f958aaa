package peer

import (
	"crayon/internal/chat"
	"crayon/internal/device"
	"crayon/internal/gguf"
	"crayon/internal/pool"
	"crayon/internal/task"
	"crayon/internal/tokenizer"
)

// question is what a user of a label task asks: 80 to 100 tokens of prompt in
// the default pool's form, four choices of 2 to 8 tokens, their end included.
type question struct {
	context, text string
	choices       [4]string
}

const instruction = "Read the note below, then answer the question after it with one of the options, word for word."

var questions = []question{
	{"The ferry to the island leaves from the old harbour every morning except in winter storms, and the crossing takes about forty minutes when the sea is calm.",
		"What should a traveller check before setting out in January?", [4]string{"the weather", "the price of bread", "the colour of the boat", "nothing"}},
	{"Our dishwasher stops in the middle of its program, blinks three times and leaves the water standing in the tub, though the hose was cleaned only last week.",
		"Which part is the likeliest to have failed?", [4]string{"the drain pump", "the door", "the cutlery basket", "the salt lamp"}},
	{"Plants turn light, water and carbon dioxide into sugar. At night there is no light, so they use up some of what they made during the day.",
		"Which gas does a plant take in while it makes sugar?", [4]string{"oxygen", "carbon dioxide", "pure nitrogen", "helium"}},
	{"A customer writes that the parcel came two days late, that one of the cups was broken, and that she would like another one before her sister's birthday.",
		"What is the message about?", [4]string{"an item that came damaged", "a password that was lost", "praise", "opening hours"}},
	{"Tom put the keys into the blue jar beside the door, and while he was at work Anna moved them to the drawer of the kitchen table.",
		"Where will Tom look for the keys first when he comes home?", [4]string{"in the blue jar", "in the drawer", "under the mat", "at work"}},
	{"The committee read the report twice, asked the engineers about the bridge's third pillar, and at last decided to wait until new measurements were there.",
		"What did the committee do in the end?", [4]string{"it waited for measurements", "it built the bridge", "it fired all of the engineers", "it voted"}},
	{"A triangle has one angle of ninety degrees and one of thirty degrees. The sum of all three angles of a triangle is always the same.",
		"How large is the third angle?", [4]string{"sixty degrees", "ninety degrees", "thirty degrees", "forty-five"}},
	{"After the rain the path through the wood was so soft that the bicycles sank in, and the children had to carry them as far as the road.",
		"Why were the bicycles carried?", [4]string{"the ground had become too soft", "they were new", "all the tyres were flat", "for fun"}},
}

// asks are the questions in the tokens of the model at path.
func asks(path string) ([]Ask, error) {
	g, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer g.Close()
	t, err := tokenizer.FromGGUF(g)
	if err != nil {
		return nil, err
	}
	form, err := device.NewForm(t, pool.Prompt{Template: chat.ChatML})
	if err != nil {
		return nil, err
	}
	all := make([]Ask, len(questions))
	for i, q := range questions {
		if all[i].Prompt, err = form.Prompt(task.Text(q.text, instruction+" "+q.context, q.choices[:])); err != nil {
			return nil, err
		}
		for _, c := range q.choices {
			all[i].Choices = append(all[i].Choices, form.Answer(c))
		}
	}
	return all, nil
}
