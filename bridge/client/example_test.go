package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"imctl/bridge/client"
	"imctl/bridge/wire"
)

// A bot that answers each dialogue, also those that it has missed.
func Example() {
	ctx := context.Background()
	bot, err := client.Connect(ctx, client.Config{ID: "61810e422ec1f24f2175c05a631c9a8f", Account: "bot", Password: "correct horse"})
	if err != nil {
		log.Fatal(err)
	}
	defer bot.Close()
	for d := range bot.Dialogues(ctx) {
		_, err := bot.Send(ctx, client.Dialogue{ID: "answer-" + d.Key(), To: d.With, Payload: "You say: " + d.Payload, Re: d.N})
		if errors.Is(err, wire.NotFriends) {
			log.Printf("%s is no friend any more", d.With)
		} else if err != nil {
			log.Print(err)
		}
	}
}

// A bot that accepts friend requests.
func ExampleConfig_notice() {
	var bot *client.Client
	config := client.Config{Context: "bot.json", Notice: func(ctx context.Context, n client.Notice) {
		if n.Code == wire.FriendApply {
			if err := bot.Accept(ctx, n.Request); err != nil {
				log.Print(err)
			}
		}
	}}
	bot, err := client.Connect(context.Background(), config)
	if err != nil {
		log.Fatal(err)
	}
	defer bot.Close()
}

// The calls have the names of docs/consumers.md.
func ExampleClient_Call() {
	ctx := context.Background()
	bot, err := client.Connect(ctx, client.Config{Context: "bot.json"})
	if err != nil {
		log.Fatal(err)
	}
	defer bot.Close()
	var answer struct{ People []client.Person }
	if err := bot.Call(ctx, "people", map[string]any{"q": "jo"}, &answer); err != nil {
		log.Fatal(err)
	}
	for _, one := range answer.People {
		fmt.Println(one.Name)
	}
}

// The id of a dialogue that answers another one follows from its key.
func ExampleDialogue_Key() {
	fmt.Println(client.Dialogue{ID: "x", N: 17}.Key(), client.Dialogue{ID: "x"}.Key())
	// Output: 17 x
}

// A service, such as imctl attach add alerts --role service --user alerts --befriend makes, sends to users by their account.
func ExampleClient_Befriend() {
	ctx := context.Background()
	alerts, err := client.Connect(ctx, client.Config{Context: "alerts.json"})
	if err != nil {
		log.Fatal(err)
	}
	defer alerts.Close()
	var to struct{ User client.Person }
	if err := alerts.Read(ctx, "user", map[string]any{"account": "ada"}, &to); err != nil {
		log.Fatal(err)
	}
	if err := alerts.Befriend(ctx, to.User.ID); err != nil {
		log.Fatal(err)
	}
	if _, err := alerts.Send(ctx, client.Dialogue{To: to.User.ID, Payload: "Deployed"}); err != nil {
		log.Fatal(err)
	}
}
