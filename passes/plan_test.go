package passes

import (
	"strings"
	"testing"
)

func TestPlanRoundTrip(t *testing.T) {
	m := parseInferred(t, residual)
	plan, err := MakePlan(m.Graph, Settings{WeightBits: 4, ActivationBits: 3, Rule: Wide, SigmaBits: 8}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := plan.JSON()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParsePlan(text)
	if err != nil {
		t.Fatal(err)
	}
	second, err := again.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != string(second) {
		t.Errorf("plan changed:\n%s\n%s", text, second)
	}
}

func TestParsePlanRefuses(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{`{`, "plan: "},
		{`{"format":"daq plan 0"}`, `format "daq plan 0"`},
		{`{"format":"daq plan 1","rule":"papre"}`, `step "papre"`},
		{`{"format":"daq plan 1","rule":"paper","wieghts":[]}`, "wieghts"},
		{`{"format":"daq plan 1","rule":"paper","weights":[{"node":"c","bits":9}]}`, `weights of "c"`},
		{`{"format":"daq plan 1","rule":"paper","activations":[{"tensor":"x","bits":0}]}`, `tensor "x"`},
		{`{"format":"daq plan 1","rule":"paper","activations":[{"tensor":"x","bits":4,"steps":[-1]}]}`, `tensor "x"`},
		{`{"format":"daq plan 1","rule":"paper"}`, "quantizes nothing"},
		{`{"format":"daq plan 1","rule":"paper","input_range":7,"weights":[{"node":"c","bits":4}]}`, "input_range 7"},
		{`{"format":"daq plan 1","rule":"paper","weights":[{"node":"c","bits":4}]} {}`, "more behind"},
		{`{"format":"daq plan 1","rule":"paper","weights":[{"node":"c","bits":4},{"node":"c","bits":2}]}`, `"c" are named twice`},
		{`{"format":"daq plan 1","rule":"calibrated","activations":[{"tensor":"x","bits":4,"readers":["c"]}]}`, "needs steps"},
		{`{"format":"daq plan 1","rule":"paper","prunes":[{"tensor":"x","channels":[1],"means":[0]}],"weights":[{"node":"c","bits":4}]}`, "for static graphs"},
		{`{"format":"daq plan 1","rule":"paper","mode":"static","prunes":[{"tensor":"x","channels":[-1],"means":[0]}],"weights":[{"node":"c","bits":4}]}`, `"x": channel -1`},
		{`{"format":"daq plan 1","rule":"paper","mode":"static","prunes":[{"tensor":"x","channels":[1],"means":[0]},{"tensor":"x","channels":[2],"means":[0]}],"weights":[{"node":"c","bits":4}]}`, `"x" is named twice`},
		{`{"format":"daq plan 1","rule":"paper","activations":[{"tensor":"x","bits":4,"readers":["c"]},{"tensor":"y","bits":4,"readers":["c"]}]}`, `"c" reads "x" and "y"`},
	} {
		if _, err := ParsePlan([]byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one with %q", tc.text, err, tc.want)
		}
	}
}
