// Judges requests by policies as IAM would. Standard input: {principal, account, cases: [{policies, request}]}; standard
// output: for each case "Allowed", or why not.

const { readFileSync } = require('node:fs')

const { runSimulation } = require('@cloud-copilot/iam-simulate')

// A key's own policy comes first; this is the one that keys have by default, which leaves the rest to IAM.
const keyPolicy = (account) => ({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Principal: { AWS: `arn:aws:iam::${account}:root` }, Action: 'kms:*', Resource: '*' }],
})

async function judged({ principal, account }, { policies, request }) {
  const answer = await runSimulation(
    {
      identityPolicies: policies.map((policy, number) => ({ name: `${number}`, policy })),
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      resourcePolicy: request.action.startsWith('kms:') ? keyPolicy(account) : undefined,
      request: {
        principal,
        action: request.action,
        resource: { resource: request.resource, accountId: account },
        contextVariables: request.context ?? {},
      },
    },
    {},
  )
  if (answer.resultType === 'error') return JSON.stringify(answer.errors)
  const ignored = answer.result?.ignoredContextKeys ?? []
  return ignored.length ? `IAM knows no ${ignored.join(', ')} for this` : answer.overallResult
}

async function main() {
  const asked = JSON.parse(readFileSync(0, 'utf8'))
  const answers = []
  for (const one of asked.cases) answers.push(await judged(asked, one))
  process.stdout.write(JSON.stringify(answers))
}

main()
