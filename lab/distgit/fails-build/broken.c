int main(void)
{
    return nobody_declared_this;
}
