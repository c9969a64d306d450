"""The audit of mined files from any tool: what shape they have, what is wrong in them, and what they are worth."""
