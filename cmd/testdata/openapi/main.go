// Command openapi makes calls with the client that oapi-codegen generates from docs/openapi.yaml.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
)

func main() {
	url, account, id, token := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	ctx := context.Background()
	c, err := NewClientWithResponses(url)
	check(err)

	registered, err := c.RegisterWithResponse(ctx, Registration{Account: account, Password: "correct horse", Mail: "john@example.com"})
	check(err)
	success, err := registered.JSON200.AsSuccess()
	check(err)
	fmt.Println("register", success.Code, success.Message)

	again, err := c.RegisterWithResponse(ctx, Registration{Account: account, Password: "correct horse", Mail: "john@example.com"})
	check(err)
	exists, err := again.JSON200.AsAccountExists()
	check(err)
	fmt.Println("register", exists.Code, exists.Message)

	found, err := c.FindPeopleWithResponse(ctx, &FindPeopleParams{Id: id, Token: token, Name: account})
	check(err)
	people, err := found.JSON200.AsFoundPeople()
	check(err)
	fmt.Println("found", people.Code, (*people.Found)[0].Name)

	sign := "Back from Mars"
	updated, err := c.UpdateProfileWithResponse(ctx, ProfileUpdate{Id: id, Token: token, Sign: &sign})
	check(err)
	success, err = updated.JSON200.AsSuccess()
	check(err)
	fmt.Println("profile", success.Code, success.Message)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
