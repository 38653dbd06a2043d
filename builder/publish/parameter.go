// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// imageDataType lets launch templates and CloudFormation take the parameter for
// an image.
const imageDataType = "aws:ec2:image"

// parameter reads a parameter; nil when there is none.
func (r *region) parameter(ctx context.Context, name string) (*types.Parameter, error) {
	out, err := r.parameters.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(name)})
	var none *types.ParameterNotFound
	switch {
	case errors.As(err, &none):
		return nil, nil //nolint:nilnil // no parameter is an answer
	case err != nil:
		return nil, r.explain("read parameter "+name, r.name, err)
	}
	return out.Parameter, nil
}

// checkParameterThere reads the parameter before anything is spent: that tells
// whether it may be read, and whether it can hold an image.
func (p *Publisher) checkParameterThere(ctx context.Context, r *region) error {
	if p.SSMParameter == "" {
		return nil
	}
	now, err := r.parameter(ctx, p.SSMParameter)
	if err == nil && now != nil && now.Type != types.ParameterTypeString {
		return fmt.Errorf("ssm_parameter: %s in %s is a %s, not a String: choose another name", p.SSMParameter, r.name, now.Type)
	}
	return err
}

// setParameters stores the images' ids. The undo restores the former value,
// unless somebody else has changed it since.
func (p *Publisher) setParameters(ctx context.Context, b *build) error {
	if p.SSMParameter == "" {
		return nil
	}
	for _, r := range p.regions {
		id := b.images[r].id
		former, err := r.parameter(ctx, p.SSMParameter)
		if err != nil {
			return err
		}
		in := &ssm.PutParameterInput{
			Name: aws.String(p.SSMParameter), Value: aws.String(id), Type: types.ParameterTypeString,
			DataType: aws.String(imageDataType), Overwrite: aws.Bool(true),
		}
		if former != nil {
			in.DataType = former.DataType // it cannot be changed
		}
		p.oweParameter(b, r, id, former)
		if _, err := r.parameters.PutParameter(ctx, in); err != nil {
			return r.explain("store parameter "+p.SSMParameter, r.name, err)
		}
		p.say("%s: parameter %s is %s", r.name, p.SSMParameter, id)
	}
	return nil
}

func (p *Publisher) oweParameter(b *build, r *region, id string, former *types.Parameter) {
	name := p.SSMParameter
	remedy := r.ssmCommand("delete-parameter", "--name", name)
	if former != nil {
		remedy = r.ssmCommand("put-parameter", "--overwrite", "--name", name, "--value", aws.ToString(former.Value))
	}
	b.owed.Owe("the value of parameter "+name+" in "+r.name, remedy, func(ctx context.Context) error {
		now, err := r.parameter(ctx, name)
		if err != nil || now == nil || aws.ToString(now.Value) != id {
			return verdict(err)
		}
		if former == nil {
			_, err = r.parameters.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String(name)})
			return verdict(err)
		}
		value := aws.ToString(former.Value)
		if r.removed(value) {
			// It named the image that was to be replaced, and has a new id once
			// it is registered again.
			if r.returned[value] == "" {
				return fmt.Errorf("it named image %s, which has to be registered again first", value)
			}
			value = r.returned[value]
		}
		_, err = r.parameters.PutParameter(ctx, &ssm.PutParameterInput{
			Name: aws.String(name), Value: aws.String(value), Type: former.Type, DataType: former.DataType, Overwrite: aws.Bool(true),
		})
		return verdict(err)
	})
}
